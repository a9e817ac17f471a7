"""Where a task must run because of its files, found from a real DataFlowKernel's futures."""
from __future__ import annotations

import os
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from parsl.app.app import python_app
from parsl.config import Config
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.files import File
from parsl.data_provider.http import HTTPInTaskStaging, HTTPSeparateTaskStaging
from parsl.data_provider.staging import Staging
from parsl.data_provider.zip import ZipFileStaging
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.globus_compute_multi.errors import FilesNotShared
from parsl.executors.globus_compute_multi.workflow import Workflow
from parsl.executors.threads import ThreadPoolExecutor

pytestmark = pytest.mark.local

ANVIL, ANVIL_2, DELTA = ("anvil", "anvil1"), ("anvil", "anvil2"), ("delta", "delta1")


class Placing(ThreadPoolExecutor):
    """Says that tasks ran `here` (file-system group and endpoint), and notes by app in which group each had to."""

    observes_tasks = True

    def __init__(self, working_dir, storage_access):
        super().__init__(label="placing", working_dir=working_dir, storage_access=storage_access)
        self.here = ANVIL
        self.had_to = {}
        self.workflow = Workflow(lambda message: None)

    def task_state_changed(self, task_record, new_state):
        self.workflow.state_changed(task_record, new_state)

    def task_submitting(self, task_record, try_id):
        self.name = task_record["func_name"]
        self.workflow.submitting(task_record, try_id)

    def submit(self, func, resource_specification, *args, **kwargs):
        submission = self.workflow.take_submitted()
        self.had_to[self.name] = submission.filesystem
        return super().submit(partial(self._run, submission.node, self.here, func), resource_specification, *args, **kwargs)

    def _run(self, node, place, func, *args, **kwargs):
        try:
            return func(*args, **kwargs)
        finally:
            self.workflow.ran_in(node, *place)


class Session:
    """A DataFlowKernel with that executor, and apps."""

    def __init__(self, folder, storage_access=None, **settings):
        self.executor = Placing(str(folder), storage_access)
        self.dfk = dfk = DataFlowKernel(Config(executors=[self.executor, ThreadPoolExecutor("elsewhere")], run_dir=str(folder / "runinfo"),
                                               initialize_logging=False, strategy="none", **settings))

        @python_app(data_flow_kernel=dfk, executors=["placing"])
        def write(outputs=(), stdout=None):
            for file in outputs:
                with open(file, "w") as stream:
                    stream.write("text")

        @python_app(data_flow_kernel=dfk, executors=["elsewhere"])
        def write_elsewhere(outputs=()):
            with open(outputs[0], "w") as stream:
                stream.write("text")

        @python_app(data_flow_kernel=dfk, executors=["placing"])
        def read(*files, inputs=()):
            return [open(file).read() for file in [*inputs, *files]]

        @python_app(data_flow_kernel=dfk, executors=["placing"])
        def use(*anything, inputs=()):
            pass

        @python_app(data_flow_kernel=dfk, executors=["placing"])
        def write_at_last(failures, outputs=()):
            if failures:
                failures.pop()()

        self.write, self.write_elsewhere, self.read, self.use, self.write_at_last = write, write_elsewhere, read, use, write_at_last

    def written(self, where, path):
        """A DataFuture of a file, written there."""
        self.executor.here = where
        future = self.write(outputs=[File(str(path))])
        future.result()
        return future.outputs[0]

    def group_of(self, future):
        """In which group a task had to run."""
        future.result()
        return self.executor.had_to[future.task_record["func_name"]]


@pytest.fixture
def session(tmp_path):
    """Makes sessions."""
    made = []

    def make(**settings):
        folder = tmp_path / f"session{len(made)}"
        folder.mkdir()
        made.append(Session(folder, **settings))
        return made[-1]

    yield make
    for each in made:
        each.dfk.cleanup()


@pytest.fixture
def url():
    """Address of a file on a web server."""
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"text")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/data.txt"
        server.shutdown()
        thread.join()


class CopyStaging(Staging):
    """Brings files to a store and from it: within the task that uses them, or by tasks of their own."""

    def __init__(self, store, separate):
        self.store = store
        self.separate = separate

    def can_stage_in(self, file):
        return file.scheme == "file"

    can_stage_out = can_stage_in

    def _localize(self, dm, executor, file):
        file.local_path = os.path.join(dm.dfk.executors[executor].working_dir, file.filename)

    def _app(self, dm, executor, function):
        return python_app(data_flow_kernel=dm.dfk, executors=[executor])(function)

    def stage_in(self, dm, executor, file, parent_fut):
        self._localize(dm, executor, file)
        if self.separate:
            app = self._app(dm, executor, _stage_in)
            return app(self.store, outputs=[file], parent_fut=parent_fut, _parsl_staging_inhibit=True).outputs[0]

    def stage_out(self, dm, executor, file, app_fu):
        self._localize(dm, executor, file)
        if self.separate:
            return self._app(dm, executor, _stage_out)(self.store, inputs=[file], parent_fut=app_fu, _parsl_staging_inhibit=True)

    def replace_task(self, dm, executor, file, func):
        def wrapped(*args, **kwargs):
            _stage_in(self.store, [file])
            return func(*args, **kwargs)
        return None if self.separate else _named(func, wrapped)

    def replace_task_stage_out(self, dm, executor, file, func):
        def wrapped(*args, **kwargs):
            value = func(*args, **kwargs)
            _stage_out(self.store, [file])
            return value
        return None if self.separate else _named(func, wrapped)


class LeftToTheApp(Staging):
    """Accepts every file and does nothing: the apps transfer what they use."""

    def can_stage_in(self, file):
        return True

    can_stage_out = can_stage_in


class ArchiveStaging(CopyStaging):
    """A task of its own brings files away; tasks that use them find them where they were brought."""

    def stage_in(self, dm, executor, file, parent_fut):
        return None


def _named(func, wrapped):
    wrapped.__name__ = func.__name__
    return wrapped


def _stage_in(store, outputs, parent_fut=None, _parsl_staging_inhibit=True):
    os.replace(os.path.join(store, outputs[0].filename), outputs[0].local_path)


def _stage_out(store, inputs, parent_fut=None, _parsl_staging_inhibit=True):
    os.replace(inputs[0].local_path, os.path.join(store, inputs[0].filename))


def test_a_task_that_reads_a_file_must_run_where_it_was_written(session, tmp_path):
    s = session()
    a = s.written(DELTA, tmp_path / "a.txt")
    s.executor.here = ANVIL
    for future in (s.read(a), s.read(inputs=[a]), s.read(a, a, inputs=[a])):
        assert s.group_of(future) == "delta"
    assert s.executor.had_to["write"] is None


def test_a_task_without_files_of_others_may_run_anywhere(session, tmp_path):
    s = session()
    a = s.written(DELTA, tmp_path / "a.txt")
    assert s.group_of(s.use(a.parent)) is None  # the value of the task that wrote a file, not the file
    assert s.group_of(s.use(File(str(tmp_path / "a.txt")), 1, s.use())) is None


def test_a_file_that_is_standard_output_counts(session, tmp_path):
    s = session()
    s.executor.here = DELTA
    written = s.write(stdout=File(str(tmp_path / "out.txt")))
    written.result()
    assert s.group_of(s.use(written.stdout)) == "delta"


def test_files_on_endpoints_that_share_them_can_be_used_together(session, tmp_path):
    s = session()
    files = [s.written(where, tmp_path / where[1]) for where in (ANVIL, ANVIL_2)]
    assert s.group_of(s.read(inputs=files)) == "anvil"


def test_files_on_two_file_systems_fail_the_task_naming_files_endpoints_and_remedy(session, tmp_path):
    s = session()
    names = [str(tmp_path / f"{i}.txt") for i in range(6)]
    files = [s.written(where, name) for where, name in zip((ANVIL, ANVIL_2, ANVIL, ANVIL, ANVIL, DELTA), names)]
    task = s.read(inputs=files)
    with pytest.raises(FilesNotShared) as e:
        task.result()
    message = str(e.value)
    assert f"task {task.tid} (read)" in message
    assert f"{names[0]}, {names[1]}, {names[2]} and 2 more on 'anvil' (endpoint anvil1, anvil2)" in message
    assert f"{names[5]} on 'delta' (endpoint delta1)" in message
    assert "filesystem=" in message and "storage_access=" in message
    assert s.group_of(s.read(files[5])) == "delta"  # the next task is not affected


def test_two_files_of_the_same_name_on_two_file_systems_are_told_apart(session, tmp_path):
    s = session()
    files = [s.written(where, tmp_path / "a.txt") for where in (ANVIL, DELTA)]
    with pytest.raises(FilesNotShared, match="a.txt on 'anvil' .*a.txt on 'delta' "):
        s.read(inputs=files).result()


def test_a_file_lies_where_the_last_try_of_its_task_ran(session, tmp_path):
    s = session(retries=1)

    def fail():
        s.executor.here = DELTA
        raise KeyError("once")

    written = s.write_at_last([fail], outputs=[File(str(tmp_path / "a.txt"))])
    written.result()
    assert s.group_of(s.use(written.outputs[0])) == "delta"


def test_a_file_that_another_executor_wrote_may_be_used_anywhere(session, tmp_path):
    s = session()
    a = s.written(DELTA, tmp_path / "a.txt")
    b = s.write_elsewhere(outputs=[File(str(tmp_path / "b.txt"))]).outputs[0]
    assert s.group_of(s.use(b)) is None
    assert s.group_of(s.use(a, b)) == "delta"


def test_a_file_of_another_dataflowkernel_may_be_used_anywhere(session, tmp_path):
    s, other = session(), session()
    mine, foreign = s.written(DELTA, tmp_path / "a.txt"), other.written(ANVIL, tmp_path / "b.txt")
    assert mine.tid == foreign.tid
    assert s.group_of(s.use(foreign)) is None
    assert s.group_of(s.use(foreign, mine)) == "delta"


def test_a_task_must_run_where_a_task_of_its_own_has_downloaded_its_file(session, url):
    s = session(storage_access=[HTTPSeparateTaskStaging()])
    s.executor.here = DELTA
    assert s.group_of(s.read(File(url))) == "delta"
    assert s.executor.had_to["_http_stage_in"] is None


def test_a_task_that_downloads_its_file_itself_may_run_anywhere(session, url):
    s = session(storage_access=[HTTPInTaskStaging()])
    s.executor.here = DELTA
    assert s.group_of(s.read(inputs=[File(url)])) is None


def test_zip_files_are_handled_on_the_users_side_and_may_be_used_anywhere(session, tmp_path):
    s = session(storage_access=[NoOpFileStaging(), ZipFileStaging()])
    packed = s.written(DELTA, f"zip:{tmp_path}/out.zip/a.txt")
    assert s.group_of(s.read(packed)) is None


def test_files_that_are_transferred_within_tasks_may_be_used_anywhere(session, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    s = session(storage_access=[CopyStaging(store, separate=False)])
    a = s.written(DELTA, "/a.txt")
    future = s.read(a)
    assert future.result() == ["text"]
    assert s.group_of(future) is None


def test_of_files_transferred_by_tasks_each_step_runs_where_the_one_before_left_the_file(session, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    s = session(storage_access=[CopyStaging(store, separate=True)])
    a = s.written(DELTA, "/a.txt")
    a.result()
    assert s.executor.had_to == {"write": None, "_stage_out": "delta"}
    s.executor.here = ANVIL
    future = s.read(a)
    assert future.result() == ["text"]
    assert s.executor.had_to == {"write": None, "_stage_out": "delta", "_stage_in": None, "read": "anvil"}


def test_a_file_that_a_task_of_its_own_has_brought_away_may_be_used_anywhere(session, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    s = session(storage_access=[ArchiveStaging(store, separate=True)])
    a = s.written(DELTA, "/a.txt")
    assert s.group_of(s.use(a)) is None
    assert s.executor.had_to["_stage_out"] == "delta"


def test_files_that_apps_transfer_themselves_may_be_used_anywhere(session):
    s = session(storage_access=[LeftToTheApp()])
    s.executor.here = DELTA
    written = s.write_at_last([], outputs=[File("s3://bucket/a.txt")])
    written.result()
    assert s.group_of(s.use(written.outputs[0])) is None
