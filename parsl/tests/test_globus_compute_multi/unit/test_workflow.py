"""What the executor learns of the workflow, from a real DataFlowKernel."""
from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import Future

import pytest

from parsl.app.app import join_app, python_app
from parsl.app.futures import DataFuture
from parsl.config import Config
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.states import States
from parsl.executors.globus_compute_multi.workflow import (
    Announced,
    Left,
    Submission,
    Workflow,
)
from parsl.executors.threads import ThreadPoolExecutor

pytestmark = pytest.mark.local


class Observing(ThreadPoolExecutor):
    """Feeds a Workflow as the executor does."""

    observes_tasks = True

    def __init__(self, working_dir, label="observing"):
        super().__init__(label=label, max_threads=4, working_dir=working_dir)
        self.messages = []
        self.submissions = []
        self.joining = threading.Semaphore(0)
        self.workflow = Workflow(self.messages.append)

    def task_state_changed(self, task_record, new_state):
        self.workflow.state_changed(task_record, new_state)
        if new_state is States.joining:
            self.joining.release()

    def task_submitting(self, task_record, try_id):
        self.workflow.submitting(task_record, try_id)

    def submit(self, func, resource_specification, *args, **kwargs):
        self.submissions.append(self.workflow.take_submitted())
        return super().submit(func, {}, *args, **kwargs)

    def parents(self, node):
        """Parents in each announcement of a task."""
        return [message.parents for message in self.messages if isinstance(message, Announced) and message.node == node]

    def check(self):
        """What must hold when all tasks are finished."""
        announced = {m.node for m in self.messages if isinstance(m, Announced)}
        left = [m.node for m in self.messages if isinstance(m, Left)]
        assert sorted(left) == sorted(announced)
        for position, message in enumerate(self.messages):
            for parent in message.parents if isinstance(message, Announced) else ():
                assert Left(parent) in self.messages[position:], "a parent that is announced leaves afterwards"


class Session:
    """A DataFlowKernel with an observing executor, and apps."""

    def __init__(self, folder, **settings):
        self.executor = Observing(str(folder))
        self.dfk = dfk = DataFlowKernel(Config(executors=[self.executor], run_dir=str(folder / "runinfo"), initialize_logging=False,
                                               strategy="none", **settings))

        @python_app(data_flow_kernel=dfk)
        def value(x=None, *more, inputs=(), parsl_resource_specification={}):
            return x

        @python_app(data_flow_kernel=dfk)
        def wait(gate, inputs=()):
            assert gate.wait(60)
            return {"a": 1}

        @python_app(data_flow_kernel=dfk)
        def write(gate, outputs=()):
            assert gate.wait(60)
            with open(outputs[0], "w") as file:
                file.write("text")

        @python_app(data_flow_kernel=dfk, cache=True)
        def remembered(x):
            return x

        @python_app(data_flow_kernel=dfk)
        def fail_first(failures):
            if failures:
                raise KeyError(failures.pop())

        @join_app(data_flow_kernel=dfk)
        def join(make):
            return make()

        self.value, self.wait, self.write, self.remembered, self.fail_first, self.join = value, wait, write, remembered, fail_first, join

    def parents(self, future):
        return self.executor.parents(future.tid)


@pytest.fixture
def session(tmp_path):
    """Makes sessions; at the end, their messages are checked."""
    made = []

    def make(**settings):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Session(folder, **settings))
        return made[-1]

    yield make
    for each in made:
        each.dfk.wait_for_current_tasks()
        each.dfk.cleanup()
        each.executor.check()


@pytest.fixture
def gate():
    """Holds tasks back until it is set."""
    event = threading.Event()
    yield event
    event.set()


def test_a_task_is_announced_with_its_app_and_parents_and_leaves_when_it_is_done(session, gate):
    s = session()
    first, second = s.wait(gate), s.wait(gate)
    child = s.value(first, second)
    assert s.executor.messages == [Announced(0, "wait", (), None), Announced(1, "wait", (), None), Announced(2, "value", (0, 1), None)]
    gate.set()
    child.result()
    assert s.executor.messages[-1] == Left(2) and {Left(0), Left(1)} == set(s.executor.messages[3:-1])


def test_parents_that_are_finished_are_not_announced(session):
    s = session()
    parent = s.value(1)
    parent.result()
    assert s.parents(s.value(parent)) == [()]


def test_a_task_that_stages_out_is_announced_before_its_parent_and_ends_the_data_future(session, gate, tmp_path):
    s = session()
    written = s.write(gate, outputs=[File(f"zip:{tmp_path}/out.zip/a.txt")])
    stage_out = written.outputs[0].parent
    assert isinstance(written.outputs[0], DataFuture) and written.outputs[0].tid == written.tid != stage_out.tid
    assert [m.node for m in s.executor.messages] == [stage_out.tid, written.tid]
    assert s.parents(stage_out) == [(written.tid,)]

    child = s.value(inputs=[written.outputs[0]])
    [stage_in] = s.parents(child)[0]
    assert stage_in not in (written.tid, stage_out.tid)
    assert s.executor.parents(stage_in) == [(stage_out.tid,)]
    gate.set()
    child.result()


def test_a_data_future_that_is_not_staged_leads_to_the_task_that_writes_it(session, gate, tmp_path):
    s = session()
    written = s.write(gate, outputs=[File(str(tmp_path / "a.txt"))])
    assert s.parents(s.value(written.outputs[0])) == [(written.tid,)]
    assert s.parents(s.value(inputs=written.outputs)) == [(written.tid,)]


def test_a_parent_that_is_given_several_times_counts_once(session, gate):
    s = session()
    a = s.wait(gate)
    assert s.parents(s.value(a, a, inputs=[a])) == [(a.tid,)]


def test_a_join_task_is_announced_again_with_the_inner_tasks_it_waits_for(session, gate):
    s = session()
    inner = []

    def several():
        inner.extend([s.wait(gate), s.wait(gate)])
        return inner

    for make, expected in ((several, lambda: [i.tid for i in inner]), (lambda: inner[0], lambda: [inner[0].tid])):
        joined = s.join(make)
        child = s.value(joined)
        assert s.executor.joining.acquire(timeout=60)
        assert s.parents(joined) == [(), tuple(expected())]
        assert s.parents(child) == [(joined.tid,)] and Left(joined.tid) not in s.executor.messages
    gate.set()


def test_a_join_task_with_nothing_to_wait_for_leaves(session):
    s = session()
    joined = s.join(list)
    assert joined.result() == []
    assert s.parents(joined) == [(), ()] and s.executor.messages[-1] == Left(joined.tid)


def test_an_inner_task_that_is_finished_is_not_a_parent_of_the_join_task(session):
    s = session()
    done = s.value(1)
    done.result()
    joined = s.join(lambda: done)
    assert joined.result() == 1
    assert s.parents(joined) == [(), ()]


def test_a_join_task_that_waits_for_itself_is_not_its_own_parent(session, gate):
    s = session()
    record = s.wait(gate).task_record
    record["joins"] = [record["app_fu"]]
    s.executor.workflow.state_changed(record, States.joining)  # by hand: such a task would never end
    assert s.executor.parents(record["id"]) == [(), ()]


def test_a_lifted_item_is_a_task_between_the_two(session, gate):
    s = session()
    d = s.wait(gate)
    item = d["a"]
    child = s.value(item)
    assert s.parents(item) == [(d.tid,)] and s.parents(child) == [(item.tid,)]
    assert Announced(item.tid, "deferred_getitem", (d.tid,), None) in s.executor.messages
    gate.set()
    assert child.result() == 1


def test_plain_futures_are_not_parents(session):
    s = session()
    plain = Future()
    child = s.value(plain, DataFuture(plain, File("a.txt"), tid=0))
    assert s.parents(child) == [()]
    plain.set_result(1)


def test_tasks_of_another_dataflowkernel_with_the_same_number_are_not_parents(session, gate, tmp_path):
    s, other = session(), session()
    foreign = other.wait(gate)
    foreign_file = other.write(gate, outputs=[File(str(tmp_path / "a.txt"))]).outputs[0]
    mine = s.wait(gate)
    assert (foreign.tid, foreign_file.tid) == (0, 1) and mine.tid == 0
    assert s.parents(s.value(foreign, foreign_file)) == [()]
    assert s.parents(s.value(foreign, mine)) == [(0,)]
    assert not other.parents(mine)[1:]


def test_a_memo_hit_leaves_without_a_submit(session):
    s = session()
    s.remembered(1).result()
    hit = s.remembered(1)
    hit.result()
    assert s.executor.messages[-2:] == [Announced(hit.tid, "remembered", (), None), Left(hit.tid)]
    assert [submission.node for submission in s.executor.submissions] == [0]


def test_a_task_that_is_retried_is_announced_once_and_leaves_when_no_try_is_left(session):
    s = session(retries=1)
    succeeds, fails = s.fail_first([1]), s.fail_first([1, 2])
    assert succeeds.result() is None and isinstance(fails.exception(), KeyError)
    for future in (succeeds, fails):
        assert [m for m in s.executor.messages if m.node == future.tid] == [Announced(future.tid, "fail_first", (), None), Left(future.tid)]
        assert [x for x in s.executor.submissions if x.node == future.tid] == [Submission(future.tid, "fail_first", t, None) for t in (0, 1)]


def test_a_task_whose_parent_failed_leaves_without_a_submit(session):
    s = session()
    child = s.value(s.fail_first([1]))
    child.exception()
    assert s.executor.messages[-1] == Left(child.tid)
    assert [submission.node for submission in s.executor.submissions] == [0]


@pytest.mark.parametrize("given,seconds", [
    ({"estimated_seconds": 2}, 2.0), ({"estimated_seconds": 0.5, "cores": 2}, 0.5), ({}, None), ({"cores": 2}, None),
    ({"estimated_seconds": float("nan")}, None), ({"estimated_seconds": float("inf")}, None), ({"estimated_seconds": -1}, None),
    ({"estimated_seconds": True}, None), ({"estimated_seconds": "2"}, None), ({"estimated_seconds": 10**400}, None),
    ({"estimated_seconds": None}, None), (None, None), ("cores", None)])
def test_the_run_time_that_the_user_gave_is_announced_if_it_is_one(session, given, seconds):
    s = session()
    s.value(parsl_resource_specification=given)
    assert s.executor.messages[0].seconds == seconds


def test_whatever_threads_submit_and_finish_tasks_no_parent_leaves_before_it_is_announced(session):
    s = session()

    def submit_chain():
        future = s.value(0)
        for _ in range(60):
            future = s.value(future, future)
        future.result()

    threads = [threading.Thread(target=submit_chain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(s.executor.messages) == 2 * 4 * 61  # and the fixture checks their order


def test_nothing_is_held_of_a_task_that_nobody_holds(session, tmp_path):
    s = session()
    future = s.write(_open_gate(), outputs=[File(str(tmp_path / "a.txt"))])
    file = future.outputs[0]
    future.result()
    s.executor.workflow.ran_in(future.tid, "anvil", "anvil1")
    gone = weakref.ref(future)
    del future
    s.value(1).result()  # Parsl's threads have let go of the task before
    gc.collect()
    assert gone() is not None and len(s.executor.workflow._places) == 1  # the file's future holds it
    del file
    _collect_until(lambda: gone() is None)
    assert len(s.executor.workflow._places) == len(s.executor.workflow._writers) == 0


def test_nothing_is_kept_of_tasks_without_files(session):
    s = session()
    futures = [s.value(i) for i in range(10)]
    for future in futures:
        future.result()
        s.executor.workflow.ran_in(future.tid, "anvil", "anvil1")
    assert len(s.executor.workflow._places) == len(s.executor.workflow._writers) == 0


def _open_gate():
    event = threading.Event()
    event.set()
    return event


def _collect_until(done):
    """Threads of Parsl's pools hold their last work item for a moment."""
    pause = threading.Event()
    for _ in range(600):
        gc.collect()
        if done():
            return
        pause.wait(0.05)
    raise AssertionError("still alive")


def test_submit_takes_the_task_it_is_for_once_and_on_its_thread_only(session):
    s = session()
    workflow = s.executor.workflow
    record = s.value(1).task_record
    assert workflow.take_submitted() is None  # nobody has said anything on this thread
    workflow.submitting(record, 3)
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(workflow.take_submitted()))
    thread.start()
    thread.join()
    assert elsewhere == [None]
    assert workflow.take_submitted() == Submission(record["id"], record["func_name"], 3, None)
    assert workflow.take_submitted() is None


def test_tasks_of_other_executors_are_announced_as_theirs(session):
    s = session()
    record, messages = s.value(1).task_record, []
    for label in (s.executor.label, "another", None):
        Workflow(messages.append, label).state_changed(record, States.pending)
    assert [message.ours for message in messages] == [True, False, True]


def test_a_submit_names_all_tasks_that_it_depended_on_finished_or_not(session):
    s = session()
    first, second = s.value(1), s.value(2)
    for future in (first, second):
        future.result(10)
    both = s.value(first, second)
    assert both.result(10) == 1
    (submission,) = [x for x in s.executor.submissions if x.node == both.tid]
    assert submission.parents == (first.tid, second.tid)


def test_a_submit_that_did_not_come_is_forgotten(session):
    s = session()
    workflow = s.executor.workflow
    first, second = s.value(1).task_record, s.value(2).task_record
    workflow.submitting(first, 0)
    workflow.submitting(second, 0)
    assert workflow.take_submitted().node == second["id"]
    workflow.submitting(first, 0)
    workflow.state_changed(first, States.launched)
    assert workflow.take_submitted() is None
