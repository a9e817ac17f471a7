"""What the service remembers, and over a restart."""
import sqlite3
import stat
import time

import pytest

from local_globus_compute.service.storage import Child, Function, Storage

CHILD = Child("child", "parent", "me", {"workers": 1}, {"python": {}})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def storage(path):
    opened = Storage(path)
    yield opened
    opened.close()


def submit(storage, *task_ids, group="group", has_queue=True):
    storage.add_tasks(group, "me", has_queue, "child", [(task_id, "function") for task_id in task_ids])


def complete(storage, *task_ids, body=b"body", failed=False):
    storage.complete([(task_id, 5.0, failed, body) for task_id in task_ids])


def test_everything_is_there_after_a_restart(path):
    before = Storage(path)
    before.add_token("digest", "client", "server", time.time() + 60)
    before.add_function("function", "me", "f", "code", {"function_name": "f"})
    before.put_endpoint("parent", "me", {"endpoint_name": "p"})
    before.lock_endpoint("parent", 7.0)
    before.put_child(CHILD)
    before.put_heartbeat("child", 3.0, {"active": True})
    submit(before, "done", "open")
    complete(before, "done")
    before.close()

    after = Storage(path)
    assert after.prefix == before.prefix
    assert after.token("digest") == ("client", "server")
    assert after.function("function") == Function("me", "code", {"function_name": "f"})
    assert after.function("none") is None
    assert (after.endpoint("parent").registration, after.endpoint("parent").locked_until) == ({"endpoint_name": "p"}, 7.0)
    assert after.children() == [CHILD]
    assert after.heartbeats() == {"child": (3.0, {"active": True})}
    assert after.group_identity("group") == "me"
    assert {outcome.task_id: outcome.body for outcome in after.outcomes(["done", "open", "none"])} == {"done": b"body", "open": None}
    assert [task.task_id for task in after.unfinished_tasks("child")] == ["open"]
    assert [task.task_id for task in after.unpublished_tasks()] == ["done"]
    after.close()


def test_two_services_do_not_share_queue_names(tmp_path):
    one, other = Storage(tmp_path / "one.db"), Storage(tmp_path / "other.db")
    assert one.prefix != other.prefix
    one.close()
    other.close()


def test_only_its_owner_can_read_the_file(storage, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_is_forgotten_when_it_expires(storage):
    storage.add_token("old", "client", "server", time.time() - 1)
    assert storage.token("old") is None


def test_a_task_knows_its_parent_its_group_and_whether_the_group_has_a_queue(storage):
    storage.put_child(CHILD)
    submit(storage, "a")
    submit(storage, "b", group="quiet", has_queue=False)
    tasks = storage.tasks(["a", "b", "none"])
    assert set(tasks) == {"a", "b"}
    assert (tasks["a"].parent_id, tasks["a"].has_queue, tasks["b"].has_queue, tasks["b"].group_id) == ("parent", True, False, "quiet")


def test_a_group_that_once_had_a_queue_keeps_it(storage):
    submit(storage, "a")
    submit(storage, "b", has_queue=False)
    assert storage.tasks(["b"])["b"].has_queue
    assert storage.groups_with_queue() == ["group"]


def test_the_first_result_of_a_task_stays(storage):
    submit(storage, "a")
    complete(storage, "a", body=b"first")
    complete(storage, "a", body=b"second", failed=True)
    outcome, = storage.outcomes(["a"])
    assert (outcome.body, outcome.failed, outcome.completed) == (b"first", False, 5.0)


def test_published_results_are_told_from_unpublished_ones(storage):
    submit(storage, "a", "b", "c")
    complete(storage, "a", "b")
    storage.mark_published(["a"])
    assert [task.task_id for task in storage.unpublished_tasks()] == ["b"]
    assert [storage.tasks([task_id])[task_id].published for task_id in "abc"] == [True, False, False]


def test_a_batch_is_stored_as_a_whole_or_not_at_all(storage):
    submit(storage, "a")
    with pytest.raises(sqlite3.IntegrityError):
        submit(storage, "b", "a")
    assert list(storage.tasks(["a", "b"])) == ["a"]


def test_tasks_that_could_not_be_queued_are_taken_back(storage):
    submit(storage, "a", "b")
    storage.remove_tasks(["a"])
    assert storage.tasks_of_group("group") == ["b"]


def test_more_tasks_than_sqlite_takes_variables_can_be_asked_for(storage):
    names = [f"task-{number}" for number in range(40_000)]
    submit(storage, *names)
    assert len(storage.tasks(names)) == len(storage.outcomes(names)) == 40_000


def test_only_children_that_owe_results_are_named(storage):
    assert storage.children_with_unfinished_tasks() == []
    submit(storage, "a", "b")
    assert storage.children_with_unfinished_tasks() == ["child"]
    complete(storage, "a", "b")
    assert storage.children_with_unfinished_tasks() == []


def test_a_deleted_endpoint_takes_children_and_heartbeats_with_it(storage):
    storage.put_endpoint("parent", "me", {"endpoint_name": "p"})
    storage.put_endpoint("other", "me", {"endpoint_name": "o"})
    storage.put_child(CHILD)
    for endpoint_id in ("parent", "child", "other"):
        storage.put_heartbeat(endpoint_id, 1.0, {})
    storage.delete_endpoint("parent")
    assert [endpoint.endpoint_id for endpoint in storage.endpoints()] == ["other"]
    assert (storage.children(), list(storage.heartbeats())) == ([], ["other"])


def test_a_registration_is_replaced_but_not_its_owner(storage):
    storage.put_endpoint("parent", "me", {"endpoint_name": "p"})
    storage.put_endpoint("parent", "someone", {"endpoint_name": "q"})
    assert (storage.endpoint("parent").identity, storage.endpoint("parent").registration) == ("me", {"endpoint_name": "q"})
