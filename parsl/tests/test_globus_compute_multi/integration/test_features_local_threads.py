"""What apps see is the same as with Parsl's own threads: each test runs once on those, and once on real endpoints."""
from __future__ import annotations

import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import parsl
from parsl.app.app import bash_app, join_app, python_app
from parsl.app.errors import AppTimeout, BadStdStreamFile, BashExitFailure
from parsl.config import Config
from parsl.data_provider.data_manager import default_staging
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.files import File
from parsl.data_provider.http import HTTPSeparateTaskStaging
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.errors import DependencyError, JoinError
from parsl.dataflow.memoization import BasicMemoizer
from parsl.executors.globus_compute_multi import Endpoint
from parsl.executors.threads import ThreadPoolExecutor
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    THREADS,
    check_log,
    portable,
)
from parsl.utils import get_all_checkpoints

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]

LABEL = "either"


@pytest.fixture(params=["threads", "endpoints"])
def run(request, compute, make_executor, tmp_path):
    """``with run(**config) as dfk``: a DataFlowKernel with one executor, of Parsl's threads or of endpoints with which it shares files."""
    @contextmanager
    def load(storage_access=None, **config):
        if request.param == "threads":
            executor = ThreadPoolExecutor(label=LABEL, storage_access=storage_access)
        else:
            endpoints = [Endpoint(compute.endpoint_ids[name], name=name, threads=threads, filesystem="local")
                         for name, threads in THREADS.items()]
            executor = make_executor(label=LABEL, endpoints=endpoints, storage_access=storage_access)
        with DataFlowKernel(Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), **config)) as dfk:
            yield dfk
        if request.param == "endpoints":
            state = check_log(executor)
            assert len(state.tasks) == launched(dfk)
    return load


def launched(dfk):
    """How many tasks, retries included, the executor was given."""
    return (Path(dfk.run_dir) / "parsl.log").read_text().count(f"launched on executor {LABEL}")


@portable
def note(path, value, outputs=()):
    """Leaves a trace of each run in a file."""
    with open(path, "a") as file:
        print(value, file=file)
    return value


@portable
def fail(path, error):
    with open(path, "a") as file:
        print(error, file=file)
    raise {"KeyError": KeyError, "ValueError": ValueError, "OSError": OSError}[error]("as asked")


@portable
def read(inputs=()):
    return [open(file.filepath).read() for file in inputs]


@portable
def write(text, outputs=()):
    with open(outputs[0].filepath, "w") as file:
        file.write(text)


@portable
def say(word, stdout=None, stderr=None):
    return f"echo {word}; echo no {word} >&2"


class TestStandardStreams:

    def test_a_stream_goes_where_it_is_said_however_that_is_said(self, run, tmp_path):
        for before in ("replaced", "appended", "path-appended"):
            (tmp_path / before).write_text("before\n")
        targets = {
            "a path": str(tmp_path / "plain"),
            "in a new folder": str(tmp_path / "new" / "folder" / "plain"),
            "replaced": (str(tmp_path / "replaced"), "w"),
            "appended": (str(tmp_path / "appended"), "a"),
            "a Path": tmp_path / "path",
            "a Path, appended": (tmp_path / "path-appended", "a"),
        }
        with run() as dfk:
            app = bash_app(say, data_flow_kernel=dfk)
            futures = {kind: app("yes", stdout=target) for kind, target in targets.items()}
            assert {future.result() for future in futures.values()} == {0}
        for kind, target in targets.items():
            path = Path(target[0] if isinstance(target, tuple) else target)
            assert path.read_text() == ("before\nyes\n" if "appended" in kind else "yes\n"), kind
            assert futures[kind].stdout == target

    def test_errors_have_a_stream_of_their_own(self, run, tmp_path):
        with run() as dfk:
            bash_app(say, data_flow_kernel=dfk)("yes", stdout=str(tmp_path / "out"), stderr=str(tmp_path / "err")).result()
        assert (tmp_path / "out").read_text() == "yes\n"
        assert (tmp_path / "err").read_text().splitlines()[-1] == "no yes"

    def test_parsl_names_the_files_if_it_is_asked_to(self, run):
        with run() as dfk:
            future = bash_app(say, data_flow_kernel=dfk)("yes", stdout=parsl.AUTO_LOGNAME, stderr=parsl.AUTO_LOGNAME)
            future.result()
        for stream, line in ((future.stdout, "yes"), (future.stderr, "no yes")):
            assert Path(stream).is_relative_to(dfk.run_dir) and "say" in stream
            assert Path(stream).read_text().splitlines()[-1] == line

    def test_a_stream_can_be_staged_out_and_is_the_input_of_another_app(self, run, tmp_path):
        with run() as dfk:
            dfk.executors[LABEL].working_dir = str(tmp_path / "work")
            said = bash_app(say, data_flow_kernel=dfk)("yes", stdout=File(f"zip:{tmp_path}/streams.zip/said/out"))
            assert python_app(read, data_flow_kernel=dfk)(inputs=[said.stdout]).result() == ["yes\n"]

    def test_a_file_that_cannot_be_opened_is_an_error_that_says_so(self, run):
        with run() as dfk:
            with pytest.raises(BadStdStreamFile, match="/proc/none"):
                bash_app(say, data_flow_kernel=dfk)("yes", stdout="/proc/none/out").result()


class TestMemoization:

    def test_what_came_of_a_call_is_used_again_be_it_a_value_or_an_error(self, run, tmp_path):
        with run() as dfk:
            good, bad = (python_app(f, data_flow_kernel=dfk, cache=True) for f in (note, fail))
            for _ in range(2):
                assert good(str(tmp_path / "good"), 1).result() == 1
                assert isinstance(bad(str(tmp_path / "bad"), "KeyError").exception(), KeyError)
            assert good(str(tmp_path / "good"), 2).result() == 2
        assert (tmp_path / "good").read_text() == "1\n2\n"
        assert (tmp_path / "bad").read_text() == "KeyError\n"

    @pytest.mark.parametrize("mode", ["task_exit", "dfk_exit"])
    def test_a_second_run_takes_all_results_from_the_checkpoint_and_submits_nothing(self, run, tmp_path, mode):
        ran = str(tmp_path / "ran")

        def workflow(dfk):
            app = python_app(note, data_flow_kernel=dfk, cache=True)
            first = [app(ran, value) for value in range(3)]
            written = app(ran, first[2], outputs=[File(str(tmp_path / "made"))])
            assert [future.result() for future in (*first, written)] == [0, 1, 2, 2]
            return launched(dfk)

        with run(memoizer=BasicMemoizer(checkpoint_mode=mode)) as dfk:
            assert workflow(dfk) == 4
            assert bool(get_all_checkpoints(str(tmp_path / "runinfo"))) == (mode == "task_exit")
        checkpoints = get_all_checkpoints(str(tmp_path / "runinfo"))
        with run(memoizer=BasicMemoizer(checkpoint_files=checkpoints)) as dfk:
            assert workflow(dfk) == 0
        assert sorted(Path(ran).read_text().split()) == ["0", "1", "2", "2"]


class TestRetries:

    def test_an_app_that_fails_is_run_again_as_often_as_said(self, run, tmp_path):
        def third_time_lucky(path):
            with open(path, "a+") as file:
                file.write("x")
                file.seek(0)
                if len(file.read()) < 3:
                    raise OSError("not yet")
            return "at last"

        with run(retries=2) as dfk:
            app, bad = python_app(portable(third_time_lucky), data_flow_kernel=dfk), python_app(fail, data_flow_kernel=dfk)
            lucky, failed = app(str(tmp_path / "lucky")), bad(str(tmp_path / "failed"), "OSError")
            assert lucky.result() == "at last"
            with pytest.raises(OSError, match="as asked"):
                failed.result()
            assert lucky.task_record["fail_count"] == 2 and launched(dfk) == 6

    def test_a_retry_handler_says_what_each_failure_costs(self, run, tmp_path):
        def handler(error, task_record):
            if isinstance(error, OSError):
                raise RuntimeError("the handler does not know")
            return {KeyError: 0.5, ValueError: 10}[type(error)]

        with run(retries=1, retry_handler=handler) as dfk:
            app = python_app(fail, data_flow_kernel=dfk)
            futures = {name: app(str(tmp_path / name), name) for name in ("KeyError", "ValueError", "OSError")}
            errors = {name: type(future.exception()) for name, future in futures.items()}
        assert errors == {"KeyError": KeyError, "ValueError": ValueError, "OSError": RuntimeError}
        assert {name: len((tmp_path / name).read_text().splitlines()) for name in futures} == {"KeyError": 3, "ValueError": 1, "OSError": 1}

    def test_a_bash_app_that_fails_is_run_again(self, run, tmp_path):
        def second_time_lucky(path):
            return f"test -e {path} || {{ touch {path}; exit 3; }}"

        with run(retries=1) as dfk:
            assert bash_app(portable(second_time_lucky), data_flow_kernel=dfk)(tmp_path / "there").result() == 0
            assert launched(dfk) == 2

    def test_what_depends_on_a_failed_task_is_neither_run_nor_retried(self, run, tmp_path):
        with run(retries=2, retry_handler=lambda error, task_record: 3) as dfk:
            failed = python_app(fail, data_flow_kernel=dfk)(str(tmp_path / "failed"), "KeyError")
            after = python_app(note, data_flow_kernel=dfk)(str(tmp_path / "after"), failed)
            with pytest.raises(DependencyError):
                after.result()
            assert launched(dfk) == 1


class TestJoinApps:

    def test_a_join_app_may_join_join_apps(self, run, tmp_path):
        with run() as dfk:
            inner = python_app(note, data_flow_kernel=dfk, executors=[LABEL])

            @join_app(data_flow_kernel=dfk)
            def one(value):
                return inner(str(tmp_path / "ran"), value)

            @join_app(data_flow_kernel=dfk)
            def all_of(values):
                return [one(value) for value in values]

            assert all_of([1, 2, 3]).result() == [1, 2, 3]
            assert launched(dfk) == 3

    def test_the_failure_of_an_inner_task_is_the_join_apps(self, run, tmp_path):
        with run() as dfk:
            inner = python_app(fail, data_flow_kernel=dfk, executors=[LABEL])

            @join_app(data_flow_kernel=dfk)
            def outer():
                return inner(str(tmp_path / "ran"), "KeyError")

            error = outer().exception()
        assert isinstance(error, JoinError) and isinstance(error.__cause__, KeyError)


def test_a_task_that_exceeds_its_walltime_is_ended_and_the_threads_go_on(run):
    def busy(walltime):
        from time import monotonic, sleep
        end = monotonic() + 60
        while monotonic() < end:
            sleep(0.01)

    def quick(walltime=60):
        return "in time"

    def sleepy(walltime=0.2):
        return "exec sleep 1"  # Parsl gives it up, but does not end it

    with run() as dfk:
        app = python_app(portable(busy), data_flow_kernel=dfk)
        late = [*(app(walltime=0.2) for _ in range(sum(THREADS.values()))), bash_app(portable(sleepy), data_flow_kernel=dfk)()]
        assert {type(future.exception()) for future in late} == {AppTimeout}
        assert python_app(portable(quick), data_flow_kernel=dfk)().result() == "in time"


class TestFiles:

    @pytest.mark.parametrize("given", [None, [*default_staging]])
    def test_a_remote_file_comes_into_the_working_dir_even_if_that_is_said_late(self, run, tmp_path, web, given):
        with run(storage_access=given) as dfk:
            dfk.executors[LABEL].working_dir = tmp_path / "late"
            future = python_app(read, data_flow_kernel=dfk)(inputs=[File(f"{web}/data.txt")])
            assert future.result() == ["from the web"]
            assert (tmp_path / "late" / "data.txt").read_text() == "from the web"
            if given is not None:
                assert launched(dfk) == 2  # the given provider has a task of its own for that

    def test_a_file_goes_into_a_zip_archive_and_comes_out_of_it(self, run, tmp_path):
        inside = f"zip:{tmp_path}/archive.zip/some/where.txt"
        with run() as dfk:
            dfk.executors[LABEL].working_dir = tmp_path / "late"
            written = python_app(write, data_flow_kernel=dfk)("zipped", outputs=[File(inside)])
            read_app = python_app(read, data_flow_kernel=dfk)
            assert read_app(inputs=[written.outputs[0]]).result() == ["zipped"]
            assert read_app(inputs=[File(inside)]).result() == ["zipped"]
        with zipfile.ZipFile(tmp_path / "archive.zip") as archive:
            assert archive.read("some/where.txt") == b"zipped"

    @pytest.mark.parametrize("given, refused", [([], "file:///etc/hostname"), ([NoOpFileStaging()], "http://127.0.0.1/data.txt"),
                                                ([HTTPSeparateTaskStaging()], "file:///etc/hostname")])
    def test_what_no_given_provider_takes_is_refused_when_the_app_is_called(self, run, given, refused):
        with run(storage_access=given) as dfk:
            with pytest.raises(ValueError, match=f"{LABEL} cannot stage file"):
                python_app(read, data_flow_kernel=dfk)(inputs=[File(refused)])
            assert launched(dfk) == 0

    def test_a_missing_output_is_an_error_of_the_bash_app(self, run, tmp_path):
        def idle(outputs=()):
            return "true"

        with run() as dfk:
            with pytest.raises(parsl.app.errors.MissingOutputs, match="idle"):
                bash_app(portable(idle), data_flow_kernel=dfk)(outputs=[File(str(tmp_path / "none"))]).result()


def test_a_bash_app_tells_its_exit_code(run):
    def leave(code):
        return f"exit {code}"

    with run() as dfk:
        error = bash_app(portable(leave), data_flow_kernel=dfk)(17).exception()
        assert isinstance(error, BashExitFailure) and error.exitcode == 17
