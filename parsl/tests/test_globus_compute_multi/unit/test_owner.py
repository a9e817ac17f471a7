"""The owner's thread when the scheduler has a bug, and small parts of the threads around it."""
from __future__ import annotations

import itertools
import threading
import time
import uuid
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from globus_compute_sdk import Client
from globus_sdk import AccessTokenAuthorizer

from parsl.executors.globus_compute_multi import GlobusComputeMultiExecutor
from parsl.executors.globus_compute_multi import owner as owner_module
from parsl.executors.globus_compute_multi import parts
from parsl.executors.globus_compute_multi.compute.backoff import (
    LONGEST_SECONDS,
    LONGEST_WISH,
    Backoff,
)
from parsl.executors.globus_compute_multi.compute.dispatcher import (
    Dispatcher,
    Submission,
)
from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.matching import Matcher
from parsl.executors.globus_compute_multi.errors import (
    PolicyFailed,
    SchedulerCrashed,
    TaskNotCompleted,
)
from parsl.executors.globus_compute_multi.messages import NewTask, TaskInfo
from parsl.executors.globus_compute_multi.observe.runlog import RunLog
from parsl.executors.globus_compute_multi.owner import ROUND_SECONDS, Owner
from parsl.executors.globus_compute_multi.resolver import Resolver
from parsl.executors.globus_compute_multi.resources import Requirement
from parsl.executors.globus_compute_multi.scheduling.events import (
    TaskSubmitted,
    TurnGranted,
)
from parsl.executors.globus_compute_multi.scheduling.policy import Policy
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from parsl.tests.test_globus_compute_multi.unit.answering import answering
from parsl.tests.test_globus_compute_multi.unit.driver import spec
from parsl.tests.test_globus_compute_multi.unit.owning import running

pytestmark = pytest.mark.local


class Broken(Scheduler):
    """Crashes at its third task."""

    def handle(self, event, settle=True):
        if isinstance(event, TaskSubmitted) and event.task_id == 3:
            raise RuntimeError("a bug")
        return super().handle(event, settle)


class NoDispatcher:
    """Has never room for a submission, so that tasks stay pending."""

    def capacity(self, under_way):
        return False


class NoFetcher:
    """Is never asked for results: none of these tests loses one."""

    def fetch(self, tasks):
        raise AssertionError("asked for results")


@pytest.fixture
def make_owner(tmp_path):
    def make(scheduler, dispatcher=None, governor=None):
        resolver, log = Resolver(), RunLog(tmp_path / "run.jsonl")
        owner = Owner(scheduler=scheduler([spec("a", 1)], Settings(AheadRule(None), None)), matcher=Matcher("s"),
                      governor=governor or Governor(None, 1.0), resolver=resolver, run_log=log, endpoint_ids={"a": "id"},
                      ran_on=lambda node, endpoint: None)
        log.start()
        resolver.start()
        owner.start(dispatcher or NoDispatcher(), None, NoFetcher())
        ends.append((owner, resolver, log))
        return owner

    ends = []
    yield make
    for owner, resolver, log in ends:
        assert owner.shut_down(10) and resolver.join(10) and log.stop(10)


def post(owner, task_id):
    future = Future()
    owner.post(NewTask(TaskInfo(task_id, "app"), Requirement(), None, (), b"", future))
    return future


def test_a_bug_in_the_scheduler_fails_all_tasks_those_that_come_later_too(make_owner):
    owner = make_owner(Broken)
    for future in [post(owner, task_id) for task_id in range(1, 6)]:
        error = future.exception(10)
        assert isinstance(error, SchedulerCrashed) and "a bug" in str(error)


def test_messages_that_come_one_by_one_are_taken_together_every_hundredth_of_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr(owner_module, "TICK_SECONDS", 60.0)
    with running(tmp_path / "log.jsonl", accepts=False) as harness:
        looks, take = [], harness.owner._take
        monkeypatch.setattr(harness.owner, "_take", lambda message: (looks.append(harness.owner._last_look), take(message)))
        for task_id in range(200):
            harness.submit(task_id)
            time.sleep(0.0005)
        harness.stop()
    gaps = [after - before for before, after in itertools.pairwise(dict.fromkeys(looks))]
    assert len(looks) == 200 and gaps and min(gaps) >= ROUND_SECONDS


def test_a_message_after_a_quiet_time_does_not_wait(tmp_path, monkeypatch):
    sleeps = []
    with running(tmp_path / "log.jsonl") as harness:
        future = harness.submit(1)
        attempt_id = harness.started()
        time.sleep(20 * ROUND_SECONDS)
        monkeypatch.setattr(owner_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleeps.append))
        harness.answer(attempt_id)
        future.result(10)
        assert not sleeps


def test_a_turn_does_not_wait_for_the_next_look_at_the_messages(tmp_path, monkeypatch):
    monkeypatch.setattr(owner_module, "ROUND_SECONDS", 1000.0)
    with running(tmp_path / "log.jsonl") as harness:
        for task_id in (1, 2):  # on two endpoints
            harness.submit(task_id)
            harness.started()


@pytest.mark.parametrize("governor", [Governor(None, 1.0), Governor(20, 10.0)])
def test_a_task_that_comes_while_no_turn_may_be_granted_does_not_wait_for_a_tick(tmp_path, monkeypatch, governor):
    monkeypatch.setattr(owner_module, "TICK_SECONDS", 60.0)
    with running(tmp_path / "log.jsonl", governor=governor) as harness:
        for task_id in range(1, 5):
            future = harness.submit(task_id)
            harness.answer(harness.started(), "value")
            assert future.result(10) == "value"
            governor.ended()


def test_shutdown_does_not_wait_behind_what_was_posted_before_it_and_loses_nothing(make_owner):
    owner = make_owner(Scheduler)
    futures = [post(owner, task_id) for task_id in range(1, 5001)]
    assert owner.shut_down(30)
    deadline = time.monotonic() + 30
    for future in futures:
        assert isinstance(future.exception(deadline - time.monotonic()), TaskNotCompleted)


class Ready:
    """Has always room for a submission, and never answers."""

    def capacity(self, under_way):
        return True

    def send(self, submission):
        pass


class Exits(Policy):
    def choose(self, task, candidates, outlook):
        raise SystemExit("the user's own")


class Sleeps(Policy):
    asked = threading.Event()
    go_on = threading.Event()

    def choose(self, task, candidates, outlook):
        self.asked.set()
        self.go_on.wait(60)
        return candidates[0]


@pytest.fixture
def with_policy(tmp_path):
    """Makes owners that can dispatch to two endpoints, as the policy says."""
    def make(policy, governor=None):
        resolver, log = Resolver(), RunLog(tmp_path / "run.jsonl")
        owner = Owner(scheduler=Scheduler([spec("a"), spec("b")], Settings(AheadRule(None), None), policy), matcher=Matcher("s"),
                      governor=governor or Governor(None, 1.0), resolver=resolver, run_log=log, endpoint_ids={"a": "id", "b": "id"},
                      ran_on=lambda node, endpoint: None)
        log.start()
        resolver.start()
        owner.start(Ready(), None, NoFetcher())
        ends.append((owner, resolver, log))
        return owner

    ends = []
    yield make
    for owner, resolver, log in ends:
        owner.shut_down(10)
        assert resolver.join(10) and log.stop(10)


def test_a_policy_that_raises_system_exit_fails_its_task_and_the_executor_lives_on(with_policy):
    owner = with_policy(Exits())
    for task_id in (1, 2):
        error = post(owner, task_id).exception(10)
        assert isinstance(error, PolicyFailed) and "the user's own" in str(error)


def test_shutdown_fails_the_tasks_though_a_policy_does_not_return(with_policy):
    owner = with_policy(Sleeps())
    try:
        futures = [post(owner, task_id) for task_id in (1, 2)]
        assert Sleeps.asked.wait(10)
        assert not owner.shut_down(0.2)
        for future in futures:
            assert isinstance(future.exception(10), TaskNotCompleted)
    finally:
        Sleeps.go_on.set()


def test_a_permit_of_a_submission_that_shutdown_overtakes_goes_back():
    governor, stopping = Governor(1, 1000.0), threading.Event()
    client = Client(authorizer=AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
    dispatcher = Dispatcher(client=client, runner_id="", session="s", governor=governor, post=None, on_task_group=None, stopping=stopping)
    assert governor.try_submission()
    assert governor.submission_wait() == float("inf")  # until it ends
    stopping.set()
    dispatcher.send(Submission(1, "id", ()))
    dispatcher.start()
    dispatcher.stop()
    assert dispatcher.join(10)
    assert governor.submission_wait() < float("inf")


def test_a_permit_that_a_turn_brings_after_the_dispatcher_was_stopped_goes_back():
    governor, stopping = Governor(1, 1000.0), threading.Event()
    client = Client(authorizer=AccessTokenAuthorizer("token"), do_version_check=False, local_compute_services=True)
    dispatcher = Dispatcher(client=client, runner_id="", session="s", governor=governor, post=None, on_task_group=None, stopping=stopping)
    dispatcher.start()
    assert governor.try_submission()
    stopping.set()
    dispatcher.stop()
    dispatcher.send(Submission(1, "id", ()))
    assert dispatcher.join(10)
    assert governor.submission_wait() < float("inf")


class BreaksInATurn(Scheduler):
    def handle(self, event, settle=True):
        if isinstance(event, TurnGranted):
            raise RuntimeError("a bug")
        return super().handle(event, settle)


def test_a_permit_of_a_turn_in_which_the_scheduler_crashes_goes_back(make_owner):
    governor = Governor(1, 1000.0)
    assert isinstance(post(make_owner(BreaksInATurn, Ready(), governor), 1).exception(10), SchedulerCrashed)
    assert governor.submission_wait() < float("inf")


class SleepsInATurn(Policy):
    def __init__(self, governor):
        self.governor, self.asked, self.go_on = governor, threading.Event(), threading.Event()

    def choose(self, task, candidates, outlook):
        if self.governor._open:
            self.asked.set()
            self.go_on.wait(60)
        return candidates[0]


def test_a_permit_of_a_turn_that_hangs_goes_back_at_shutdown_and_only_once(with_policy, monkeypatch):
    governor, sent = Governor(1, 1000.0), []
    policy = SleepsInATurn(governor)
    monkeypatch.setattr(Ready, "send", lambda self, submission: sent.append(submission))
    owner = with_policy(policy, governor)
    try:
        post(owner, 1)
        assert policy.asked.wait(10)
        assert not owner.shut_down(0.2)
        assert governor._open == 0
    finally:
        policy.go_on.set()
    owner._thread.join(10)
    assert governor._open == 0 and not sent


def test_stopping_does_not_wait_until_many_slow_callbacks_are_done(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(parts, "_STOP_SECONDS", 1.5)
    go_on, futures = threading.Event(), []

    def answer(path, body):
        return 200, {"function_uuid": str(uuid.uuid4())} if path.endswith("/functions") else {"status": "offline", "details": {}}

    with answering(answer) as client:
        executor = GlobusComputeMultiExecutor([str(uuid.uuid4())], client=client, request_limit=None, log_file=tmp_path / "log.jsonl")
        executor.start()
        for _ in range(100):
            futures.append(executor.submit(int, {}))
            futures[-1].add_done_callback(lambda _: go_on.wait(0.3))
        executor.shutdown()
    assert not all(future.done() for future in futures)
    assert "futures are not completed yet" in caplog.text and "left alone: resolver" in caplog.text
    go_on.set()
    assert all(isinstance(future.exception(10), TaskNotCompleted) for future in futures)


def test_back_off_grows_with_jitter_and_respects_the_services_wish():
    backoff = Backoff()
    for step in range(10):
        longest = min(0.5 * 2 ** step, LONGEST_SECONDS)
        assert longest / 2 <= backoff.next() <= longest
    assert backoff.next(at_least=100.0) == 100.0
    assert backoff.next(at_least=1e300) == LONGEST_WISH
    backoff.reset()
    assert backoff.next() <= 0.5
