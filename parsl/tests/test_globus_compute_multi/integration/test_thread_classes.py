"""Thread classes, and files that endpoints do not share, on two real endpoints that have different folders."""
from __future__ import annotations

import os
import time

import pytest

from local_globus_compute import LocalEndpoint, LocalGlobusCompute
from parsl.app.app import python_app
from parsl.data_provider.files import File
from parsl.executors.globus_compute_multi import Endpoint, ThreadClass
from parsl.executors.globus_compute_multi.errors import FilesNotShared, NoSuchThread
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.tests.test_globus_compute_multi.integration.conftest import (
    NO_REQUEST_LIMIT,
    check_log,
    portable,
)

pytestmark = [pytest.mark.local, pytest.mark.globus_compute]

#: Threads by cores; as many as the endpoints' children have workers.
SMALL, MEDIUM = {1: 2, 4: 1}, {1: 1, 8: 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Where the tasks of each endpoint run."""
    return {name: tmp_path_factory.mktemp(name).resolve() for name in ("small", "medium")}


@pytest.fixture(scope="module")
def compute(folders):
    """Instead of the endpoints of other tests, which are not to get further children: two that have no folder in common."""
    endpoints = [LocalEndpoint("small", workers=3, working_dir=folders["small"]),
                 LocalEndpoint("medium", workers=2, working_dir=folders["medium"])]
    with LocalGlobusCompute(endpoints, limits=NO_REQUEST_LIMIT) as service:
        yield service


@pytest.fixture
def two(compute):
    """The arguments of the executor for both endpoints."""
    return {"endpoints": [Endpoint(compute.endpoint_ids["small"], name="small", threads=SMALL),
                          Endpoint(compute.endpoint_ids["medium"], name="medium", threads=MEDIUM)]}


@portable
def watch(seconds, parsl_resource_specification={}):
    """Where and when it ran."""
    import os
    import time
    began = time.time()
    time.sleep(seconds)
    return os.getpid(), began, time.time()


@portable
def write(text, outputs=(), parsl_resource_specification={}):
    import pathlib
    pathlib.Path(outputs[0].filepath).write_text(text)


@portable
def read(inputs=(), parsl_resource_specification={}):
    """What is in the files, and in which folder it ran."""
    import os
    import pathlib
    import time
    time.sleep(0.05)
    return [pathlib.Path(file.filepath).read_text() for file in inputs], os.getcwd()


def most_at_once(spans):
    """The largest number of the spans (process, begin, end) that overlap."""
    changes = sorted([(begin, 1) for _, begin, _ in spans] + [(end, -1) for _, _, end in spans])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def where_tasks_ran(executor):
    """Endpoint and cores of the thread of each task's attempts, in the order of dispatch."""
    lines = list(read_log(executor.log_file))
    classes = {item["endpoint"]: item["threads"] for item in lines[0]["endpoints"]}
    places = {}
    for line in lines[1:]:
        if line["kind"] == "attempt" and "endpoint" in line:
            place = (line["endpoint"], classes[line["endpoint"]][line["thread_class"]]["cores"])
            places.setdefault(line["task"], []).append(place)
    return [place for _, place in sorted(places.items())]


def warm_up(app, *names):
    """Start the default children of endpoints, so that no task waits for one."""
    for future in [app(0, parsl_resource_specification={"endpoints": name}) for name in names]:
        future.result()


def workers_of(compute, child_id):
    """What a child itself says, some seconds after it was started."""
    deadline = time.monotonic() + 60
    while True:
        workers = compute.client().get_endpoint_status(child_id).get("details", {}).get("total_workers")
        if workers is not None:
            return workers
        assert time.monotonic() < deadline, f"child {child_id} does not tell its workers"
        time.sleep(0.5)


def children(executor):
    """IDs of the children that have sent results."""
    return {line["child"] for line in read_log(executor.log_file) if line["kind"] == "endpoint" and line["state"] == "child"}


class TestConfigurations:

    @pytest.fixture
    def classes(self, compute):
        return {"endpoints": [Endpoint(compute.endpoint_ids["small"], name="small", threads=[
            ThreadClass(cores=1, count=2, user_endpoint_config={"workers": 2}),
            ThreadClass(cores=4, count=1, user_endpoint_config={"workers": 1})])]}

    def test_each_starts_a_child_with_that_many_workers(self, workflow, compute, classes):
        with workflow(**classes) as (dfk, executor):
            app = python_app(watch, data_flow_kernel=dfk)
            wide = [app(0.2, parsl_resource_specification={"cores": 4}) for _ in range(4)]
            narrow = [app(0.2, parsl_resource_specification={"cores": 1}) for _ in range(12)]
            wide, narrow = [future.result() for future in wide], [future.result() for future in narrow]
        assert sorted(workers_of(compute, child) for child in children(executor)) == [1, 2]
        processes = {process for process, _, _ in wide + narrow}
        (wide_process,) = {process for process, _, _ in wide}
        assert len(processes) == 2
        # a narrow task may take the wide thread while nothing else wants it
        by_process = {process: [span for span in wide + narrow if span[0] == process] for process in processes}
        assert {process: most_at_once(spans) for process, spans in by_process.items()} == {
            process: 1 if process == wide_process else 2 for process in processes}

    def test_a_task_may_ask_for_one(self, workflow, classes):
        with workflow(**classes) as (dfk, executor):
            app = python_app(watch, data_flow_kernel=dfk)
            futures = [app(0.05, parsl_resource_specification={"user_endpoint_config": {"workers": 1}}) for _ in range(6)]
            spans = [future.result() for future in futures]
        assert len({process for process, _, _ in spans}) == 1 and most_at_once(spans) == 1
        assert set(map(tuple, where_tasks_ran(executor))) == {(("small", 4),)}

    def test_one_that_the_endpoint_refuses_fails_the_tasks_of_its_class_alone(self, workflow, compute):
        endpoints = [Endpoint(compute.endpoint_ids["small"], name="small", threads=[
            ThreadClass(cores=1, count=2, user_endpoint_config={"workers": 2}),
            ThreadClass(cores=4, count=1, user_endpoint_config={"no_such_variable": 1})])]
        with workflow(endpoints=endpoints, failover_attempts=0) as (dfk, _):
            app = python_app(watch, data_flow_kernel=dfk)
            bad = app(0, parsl_resource_specification={"cores": 4})
            good = app(0, parsl_resource_specification={"user_endpoint_config": {"workers": 2}})
            assert good.exception() is None
            assert "no_such_variable" in str(bad.exception(60))


class TestCores:

    @pytest.mark.parametrize("cores, place", [(2, ("small", 4)), (4, ("small", 4)), (5, ("medium", 8)), (8, ("medium", 8))])
    def test_a_task_goes_to_the_free_thread_that_fits_closest(self, workflow, two, cores, place):
        with workflow(**two) as (dfk, executor):
            app = python_app(watch, data_flow_kernel=dfk)
            warm_up(app, "small", "medium")
            app(0, parsl_resource_specification={"cores": cores}).result()
        assert where_tasks_ran(executor)[-1] == [place]

    def test_one_core_tasks_leave_the_wide_threads_free_while_they_can(self, workflow, two):
        with workflow(**two) as (dfk, executor):
            app = python_app(watch, data_flow_kernel=dfk)
            warm_up(app, "small", "medium")
            for _ in range(6):
                app(0).result()
        assert {place for places in where_tasks_ran(executor) for place in places} == {("small", 1), ("medium", 1)}

    def test_threads_of_several_classes_in_one_child_all_work_and_none_is_overrun(self, workflow, two):
        with workflow(**two) as (dfk, executor):
            app = python_app(watch, data_flow_kernel=dfk)
            warm_up(app, "small", "medium")
            futures = [app(0.1, parsl_resource_specification={"cores": cores}) for cores in (1, 4, 8, 1, 2) * 8]
            for future in futures:
                future.result()
        check_log(executor)  # at most as many attempts at once as a class has threads, and none queued ahead
        assert {place for places in where_tasks_ran(executor) for place in places} == {
            ("small", 1), ("small", 4), ("medium", 1), ("medium", 8)}

    @pytest.mark.parametrize("specification", [{"cores": 9}, {"cores": 5, "endpoints": ["small"]}])
    def test_an_impossible_task_fails_at_once_and_is_told_the_thread_classes(self, workflow, two, specification):
        with workflow(**two) as (dfk, _):
            app = python_app(watch, data_flow_kernel=dfk)
            impossible, possible = app(0, parsl_resource_specification=specification), app(0)
            with pytest.raises(NoSuchThread, match=f"{specification['cores']} cores.*small: 2 x 1 core and 1 x 4 cores.*medium: 1 x 1 core "
                                                   "and 1 x 8 cores"):
                impossible.result()
            possible.result()

    def test_a_task_restricted_to_an_endpoint_runs_there(self, workflow, two, folders):
        with workflow(**two) as (dfk, _):
            app = python_app(watch, data_flow_kernel=dfk)
            futures = {name: [app(0.02, parsl_resource_specification={"endpoints": [name]}) for _ in range(5)] for name in folders}
            processes = {name: {future.result()[0] for future in futures[name]} for name in folders}
        assert len(processes["small"]) == len(processes["medium"]) == 1 and processes["small"] != processes["medium"]


class TestFiles:

    def test_a_file_is_fetched_within_the_task_on_whichever_endpoint_runs_it(self, workflow, two, folders, web):
        with workflow(**two) as (dfk, executor):
            app = python_app(read, data_flow_kernel=dfk)
            futures = {name: app(inputs=[File(f"{web}/data.txt")], parsl_resource_specification={"endpoints": name}) for name in folders}
            for name, folder in folders.items():
                assert futures[name].result() == (["from the web"], str(folder))
                assert (folder / "data.txt").read_text() == "from the web"
        assert check_log(executor).count("done") == 2  # no task of its own brought the file somewhere

    def test_whoever_uses_a_file_runs_where_it_was_made(self, workflow, two, folders):
        with workflow(**two) as (dfk, _):
            writer, reader = python_app(write, data_flow_kernel=dfk), python_app(read, data_flow_kernel=dfk)
            made = {name: writer(f"made on {name}", outputs=[File("made.txt")], parsl_resource_specification={"endpoints": name})
                    for name in folders}
            used = {name: [reader(inputs=[made[name].outputs[0]]) for _ in range(8)] for name in folders}
            for name, folder in folders.items():
                for future in used[name]:
                    assert future.result() == ([f"made on {name}"], str(folder))

    def test_files_of_two_endpoints_for_one_task_are_refused_before_it_is_dispatched(self, workflow, two, folders):
        with workflow(**two) as (dfk, executor):
            writer = python_app(write, data_flow_kernel=dfk)
            made = [writer(name, outputs=[File(f"only-{name}.txt")], parsl_resource_specification={"endpoints": name}) for name in folders]
            both = python_app(read, data_flow_kernel=dfk)(inputs=[future.outputs[0] for future in made])
            with pytest.raises(FilesNotShared, match="(?s)only-medium.txt.*medium.*only-small.txt.*small.*filesystem="):
                both.result()
        assert len(check_log(executor).attempts) == 2

    def test_endpoints_that_are_said_to_share_files_do(self, workflow, compute, folders, tmp_path):
        endpoints = [Endpoint(id, name=name, threads=2, filesystem="disk") for name, id in compute.endpoint_ids.items()]
        with workflow(endpoints=endpoints) as (dfk, _):
            writer, reader = python_app(write, data_flow_kernel=dfk), python_app(read, data_flow_kernel=dfk)
            made = [writer(name, outputs=[File(str(tmp_path / name))], parsl_resource_specification={"endpoints": name}) for name in folders]
            used = {name: reader(inputs=[future.outputs[0] for future in made], parsl_resource_specification={"endpoints": name})
                    for name in folders}
            for name, folder in folders.items():
                assert used[name].result() == (["small", "medium"], str(folder))

    def test_the_endpoints_of_these_tests_have_no_folder_in_common(self, workflow, two, folders):
        with workflow(**two) as (dfk, _):
            python_app(write, data_flow_kernel=dfk)(
                "here", outputs=[File("here.txt")], parsl_resource_specification={"endpoints": "small"}).result()
        assert (folders["small"] / "here.txt").exists() and not (folders["medium"] / "here.txt").exists()
        assert not os.path.exists("here.txt")
