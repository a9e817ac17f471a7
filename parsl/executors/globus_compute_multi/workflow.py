"""What the executor learns of the workflow that it is a part of, as the DataFlowKernel tells it: dependencies, and where files lie.

Parsl's futures are the only thing that leads from a task to those that it depends on. They are looked at when the DataFlowKernel calls,
and never kept: what is passed on are numbers, so that the garbage collection of tasks and futures is as it is without this.
"""
from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Optional, Tuple, Union
from weakref import WeakKeyDictionary, WeakValueDictionary

from parsl.app.futures import DataFuture
from parsl.dataflow.futures import AppFuture
from parsl.dataflow.states import FINAL_STATES, States
from parsl.dataflow.taskrecord import TaskRecord
from parsl.executors.globus_compute_multi.arguments import as_run_time
from parsl.executors.globus_compute_multi.errors import FilesNotShared

#: Files that an error names for each file system.
_FILES_NAMED = 3


@dataclass(frozen=True)
class Announced:
    """A task is known to the DataFlowKernel, or now waits for further ones.

    Parameters
    ----------
    node : int
        The DataFlowKernel's number of the task, whichever executor runs it.
    app : str
        Name of the app.
    parents : tuple of int
        Tasks not finished yet that it waits for, each once. Some may not have been announced yet: a task that stages a file out is
        announced before the task that writes the file. For each of them a :class:`Left` comes later, never before.
    seconds : float or None
        Run time, if the user gave one.
    ours : bool
        Whether it runs on this executor.
    """

    node: int
    app: str
    parents: Tuple[int, ...]
    seconds: Optional[float]
    ours: bool = True


@dataclass(frozen=True)
class Left:
    """A task is finished for good, successfully or not, and whether or not it was ever submitted or announced.

    Parameters
    ----------
    node : int
    """

    node: int


@dataclass(frozen=True)
class Submission:
    """The task that the DataFlowKernel submits.

    Parameters
    ----------
    node : int
        The DataFlowKernel's number of the task.
    app : str
        Name of the app, as announced; the function that is submitted may be a wrapper of Parsl's.
    try_id : int
        How often it has failed before.
    filesystem : str or None
        File-system group that it must run in, because files lie there that it needs. None: any.
    parents : tuple of int
        Tasks that it depended on, by number, each once.
    """

    node: int
    app: str
    try_id: int
    filesystem: Optional[str]
    parents: Tuple[int, ...] = ()


@dataclass(frozen=True)
class _Place:
    """Where a task ran, and so left its files."""

    filesystem: str
    endpoint: str


class Workflow:
    """Turns the DataFlowKernel's calls into messages, and finds out where a task must run because of its files.

    The calls come on many threads. A message is posted under a lock, so that the order of messages is one that the workflow can have had.

    Parameters
    ----------
    post : callable
        Takes a message. It must return at once, and must not call back.
    label : str, optional
        Of the executor, which tells its tasks from those of others. Default: all are its own.
    """

    def __init__(self, post: Callable[[Union[Announced, Left]], None], label: Optional[str] = None) -> None:
        self._post = post
        self._label = label
        self._lock = threading.Lock()
        self._this_thread = threading.local()
        self._writers: WeakValueDictionary[int, AppFuture] = WeakValueDictionary()
        self._places: WeakKeyDictionary[AppFuture, _Place] = WeakKeyDictionary()

    def state_changed(self, task_record: TaskRecord, new_state: States) -> None:
        """Tell of a task that waits for others, or is finished. To be called from the executor's ``task_state_changed``.

        Nothing is told when a task that has failed becomes pending again: it waits for no task then.
        """
        self._this_thread.task = None  # if its submit has not come by now, it will not
        with self._lock:
            if new_state in FINAL_STATES:
                self._post(Left(task_record["id"]))
            elif new_state is States.joining:
                joins = task_record["joins"]
                self._announce(task_record, joins if isinstance(joins, list) else (joins,))
            elif new_state is States.pending and task_record["fail_count"] == 0:
                self._announce(task_record, task_record["depends"])

    def _announce(self, task_record: TaskRecord, awaited: Iterable[Optional[Future]]) -> None:
        # The state is set before we are told of it, and the lock is held here: what is not finished yet will be told later.
        parents = tuple(number for number, parent in _parents(task_record, awaited).items() if parent.get("status") not in FINAL_STATES)
        ours = self._label in (None, task_record["executor"])
        self._post(Announced(task_record["id"], task_record["func_name"], parents, _given_seconds(task_record), ours))

    def if_unfinished(self, task_record: TaskRecord, act: Callable[[], bool]) -> bool:
        """Call ``act``, which must return at once, if the task is not finished: its :class:`Left` is posted afterwards, not before.

        Returns
        -------
        bool
            What ``act`` returns; False if the task is finished.
        """
        with self._lock:
            return task_record.get("status") not in FINAL_STATES and act()

    def submitting(self, task_record: TaskRecord, try_id: int) -> None:
        """Remember what the next ``submit`` on this thread is for. To be called from the executor's ``task_submitting``."""
        future = task_record["app_fu"]
        needed: Dict[Tuple[str, _Place], None] = {}  # a set, in order
        with self._lock:
            # A task that stages a file out leaves none where it runs, and has none of these: whoever uses the file is free.
            if future.outputs or isinstance(future.stdout, DataFuture) or isinstance(future.stderr, DataFuture):
                self._writers[task_record["id"]] = future
            for file, writer in _files_in_place(task_record):
                place = self._places.get(writer)
                if place is not None:
                    needed[file, place] = None
        parents = tuple(_parents(task_record, task_record["depends"]))
        self._this_thread.task = (task_record["id"], task_record["func_name"], try_id, list(needed), parents)

    def take_submitted(self) -> Optional[Submission]:
        """The task that this call of ``submit`` is for. To be called once in each, on the thread that it came on.

        Returns
        -------
        Submission or None
            None if the DataFlowKernel did not say, for example because something else called ``submit``.

        Raises
        ------
        FilesNotShared
            If the task needs files that lie in several file-system groups.
        """
        task = getattr(self._this_thread, "task", None)
        self._this_thread.task = None
        if task is None:
            return None
        node, app, try_id, needed, parents = task
        filesystems = sorted({place.filesystem for _, place in needed})
        if len(filesystems) > 1:
            raise FilesNotShared(
                f"task {node} ({app}) needs files that lie on several file systems: {_describe(needed)}. If these endpoints do share files, "
                "give them the same filesystem= name. If not, let a staging provider in storage_access= transfer the files.")
        return Submission(node, app, try_id, filesystems[0] if filesystems else None, parents)

    def ran_in(self, node: int, filesystem: str, endpoint: str) -> None:
        """Note where a task ran, before its future is completed (the tasks that need its files are submitted from then on).

        Parameters
        ----------
        node : int
            Its number, from :class:`Submission`.
        filesystem : str
            File-system group of the endpoint.
        endpoint : str
            Name of the endpoint.
        """
        writer = self._writers.get(node)  # entered before the submission: no need to wait for the threads that submit
        if writer is not None:
            with self._lock:
                self._places[writer] = _Place(filesystem, endpoint)


def _parents(task_record: TaskRecord, awaited: Iterable[Optional[Future]]) -> Dict[int, TaskRecord]:
    """The tasks that complete these futures, by number."""
    parents: Dict[int, TaskRecord] = {}
    for future in awaited:
        parent = _record_behind(future)
        # tasks of another DataFlowKernel have the same numbers
        if parent is not None and parent["dfk"] is task_record["dfk"] and parent["id"] != task_record["id"]:
            parents[parent["id"]] = parent
    return parents


def _record_behind(future: Optional[Future]) -> Optional[TaskRecord]:
    """The task that completes ``future``, if a task does. When a file is staged out, that is not the one of the DataFuture's ``tid``."""
    while isinstance(future, DataFuture):
        future = future.parent
    return future.task_record if isinstance(future, AppFuture) else None


def _files_in_place(task_record: TaskRecord) -> List[Tuple[str, AppFuture]]:
    """The files that the task uses where another task left them: the name of each, and that task's future."""
    files = []
    for future in task_record["depends"]:
        if isinstance(future, DataFuture):
            writer = _writer_in_place(future)
            if writer is not None:
                files.append((future.file_obj.url, writer))
        elif isinstance(future, AppFuture) and _is_staging(task_record):
            files.append((f"the output of task {future.tid}", future))  # it takes away what that task has written
    return files


def _writer_in_place(future: DataFuture) -> Optional[AppFuture]:
    """The future of the task beside whose files this file is used, or None if it is brought to whoever uses it."""
    writer = _record_behind(future)
    if writer is None:
        return None
    # A provider that transfers a file within the task that uses it has said where to.
    in_place = future.file_obj.scheme == "file" and future.file_obj.local_path is None
    return writer["app_fu"] if in_place or _is_staging(writer) else None


def _is_staging(task_record: TaskRecord) -> bool:
    return bool(task_record["kwargs"].get("_parsl_staging_inhibit"))


def _given_seconds(task_record: TaskRecord) -> Optional[float]:
    """The user's estimate. What cannot be used is an error at ``submit``, not here."""
    specification: object = task_record["resource_specification"]
    return as_run_time(specification.get("estimated_seconds")) if isinstance(specification, dict) else None


def _describe(needed: List[Tuple[str, _Place]]) -> str:
    parts = []
    for filesystem in sorted({place.filesystem for _, place in needed}):
        files = [file for file, place in needed if place.filesystem == filesystem]
        names = ", ".join(files[:_FILES_NAMED]) + (f" and {len(files) - _FILES_NAMED} more" if len(files) > _FILES_NAMED else "")
        endpoints = sorted({place.endpoint for _, place in needed if place.filesystem == filesystem})
        parts.append(f"{names} on {filesystem!r} (endpoint {', '.join(endpoints)})")
    return "; ".join(parts)
