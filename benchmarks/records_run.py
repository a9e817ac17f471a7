"""One timed run of ``records.py``, in a process of its own: reads from its input, as JSON, what to run, and prints what it took.

The scheduler's core is imported twice: as it is, and, under another name, without the statements that log. Both are given the same tasks, in
turns of a few milliseconds: what else the machine does in the meantime slows down both alike.
"""
from __future__ import annotations

import ast
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import queue
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    List,
    Optional,
    Sequence,
    Tuple,
    Type,
)

from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.messages import NewTask, TaskInfo
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.executors.globus_compute_multi.observe.records import ended_by
from parsl.executors.globus_compute_multi.observe.runlog import RunLog
from parsl.executors.globus_compute_multi.resources import Requirement
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.tally import Tally
from parsl.executors.globus_compute_multi.unfinished import Unfinished
from simulation.core_speed import JUDGED

if TYPE_CHECKING:
    from types import CodeType, ModuleType

#: Events after which it is the other core's turn.
EVENTS_A_TURN = 100

#: What is imported twice, and the name of that without the log.
_CORE = "parsl.executors.globus_compute_multi.scheduling"
_SPEED = "simulation.core_speed"
_BARE = {"bare_scheduling": _CORE, "bare_core_speed": _SPEED}

#: What the runner says of a task.
_INFO: Tuple[Tuple[str, Any], ...] = (
    ("python", "3.11.7"), ("dill", "0.4.0"), ("sdk", "4.1.0"), ("task_uuid", "4b116d3c-1703-4f8f-9f6f-39921e5864df"),
    ("host", "node0123.cluster"), ("parsl", "2026.10.12"), ("started", 1763870000.123456), ("finished", 1763870001.234567),
    ("result_bytes", 1234))


@dataclass(frozen=True)
class Spent:
    """Seconds of processor time.

    Parameters
    ----------
    bare, core : list of float
        On the core's thread, in each turn: without the log, and with it.
    log : float
        On the log's thread.
    publishing : float
        On the resolver's thread, for all records, with one reader.
    lines : int
        Of the log.
    """

    bare: List[float]
    core: List[float]
    log: float
    publishing: float
    lines: int


def without_log(source: str) -> str:
    """Source code without the statements that log, and without those that only make what these log."""
    tree = ast.parse(source)
    _drop(tree, _logs)
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        for name in {target for node in ast.walk(function) if (target := _makes_fields(node)) is not None}:
            uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)]
            changes = [node for node in ast.walk(function) if _changes(node, name)]
            if len(uses) == len(changes):
                _drop(function, lambda node: _makes_fields(node) == name or node in changes)
    return ast.unparse(tree)


def _drop(tree: ast.AST, dropped: Callable[[ast.AST], bool]) -> None:
    """Leave statements out, and conditions under which there is nothing left."""
    for node in reversed(list(ast.walk(tree))):  # what is within comes first
        for name in ("body", "orelse"):
            body = getattr(node, name, None)
            if isinstance(body, list) and body:
                kept = [statement for statement in body if not dropped(statement) and not _does_nothing(statement)]
                setattr(node, name, kept or ([ast.Pass()] if name == "body" else []))


def _does_nothing(statement: ast.AST) -> bool:
    return isinstance(statement, ast.If) and not statement.orelse and all(isinstance(inner, ast.Pass) for inner in statement.body)


def _logs(node: ast.AST) -> bool:
    return _called(node) in ("log", "_log")


def _called(node: ast.AST) -> Optional[str]:
    """The method that this statement calls."""
    call = node.value if isinstance(node, ast.Expr) else None
    return call.func.attr if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else None


def _makes_fields(node: ast.AST) -> Optional[str]:
    """The variable in which this statement puts a new dictionary."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return None
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    made = node.value.body if isinstance(node.value, ast.IfExp) else node.value
    return target.id if isinstance(target, ast.Name) and isinstance(made, ast.Dict) else None


def _changes(node: ast.AST, name: str) -> bool:
    """Whether this statement does nothing but add to the dictionary in a variable."""
    changed: Optional[ast.AST] = None
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        changed = node.targets[0].value
    elif _called(node) == "update":
        changed = node.value.func.value  # type: ignore[attr-defined]
    return isinstance(changed, ast.Name) and changed.id == name


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        source = without_log(Path(self.path).read_text(encoding="utf-8"))
        for bare, real in _BARE.items():
            source = source.replace(real, bare)
        return compile(source, self.path, "exec")


class _Finder(MetaPathFinder):
    """Finds what is imported under the other names."""

    def find_spec(self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None) -> Any:
        first, dot, rest = fullname.partition(".")
        real = importlib.util.find_spec(_BARE[first] + dot + rest) if first in _BARE else None
        if real is None or real.origin is None:
            return None
        return importlib.util.spec_from_file_location(fullname, real.origin, loader=_Loader(fullname, real.origin),
                                                      submodule_search_locations=real.submodule_search_locations)


class _Turns:
    """Lets two threads run in turns."""

    def __init__(self) -> None:
        self._may = (threading.Semaphore(1), threading.Semaphore(0))

    def wait(self, side: int) -> None:
        self._may[side].acquire()

    def give(self, side: int) -> None:
        self._may[1 - side].release()


def _timed(core_speed: Any, core: str, turns: _Turns, side: int) -> Type[Any]:
    """A run of the core that measures turns."""
    actions, events = (importlib.import_module(f"{core}.{name}") for name in ("actions", "events"))

    class Run(core_speed.CoreRun):  # type: ignore[misc]
        def __init__(self, load: Any, run_log: Optional[RunLog], records: bool) -> None:
            super().__init__(load)
            self.jobs: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
            self.spent_in: List[float] = []
            self._count = 0
            self._tasks_held: Dict[int, NewTask] = {}
            self._run_log = run_log
            self._published = Records()
            self.publishing = 0.0
            self.ended = 0
            self._result_message = ResultMessage("uuid", "session", "1.1", Outcome.OK, b"value", "", 1.0, "child", _INFO)
            self._unfinished = None if run_log is None or not records else Unfinished(
                # the resolver's own thread is not to run meanwhile
                resolver=SimpleNamespace(attempt_ended=self._hand_over),  # type: ignore[arg-type]
                run_log=run_log, tally=Tally("label", self._scheduler, 0.0, run_log.epoch), ran_on=lambda node, endpoint: None)

        def _hand_over(self, action: Any, received: float, log_lines: int, future: Any) -> None:
            self.jobs.put(((action, received, log_lines), future))

        def run(self, limit: Optional[float] = None) -> Any:
            turns.wait(side)
            self.spent_in.append(0.0)
            try:
                if self._unfinished is None:
                    return super().run(limit)
                self._published.start(self._run_log.path, self._run_log.epoch)  # type: ignore[union-attr]
                with self._published.reader() as self._reader:
                    return super().run(limit)
            finally:
                self._resolve()
                turns.give(side)

        def _resolve(self) -> None:
            """Do the resolver's work, soon after the core's, as in an executor: until then, all that it refers to is kept."""
            before = time.thread_time()
            for _ in range(self.jobs.qsize()):
                job = self.jobs.get()
                self.ended += 1
                if self._unfinished is not None:
                    self._published.publish(ended_by(*job[0]), None, None)
            if self._unfinished is not None:
                self.publishing += time.thread_time() - before
                self._reader.available()

        def _settle(self, step: str = "result") -> None:
            start = time.thread_time()
            self._carry_out(self._scheduler.settle(self._now), self._now)
            self.spent_in[-1] += time.thread_time() - start

        def _handle(self, step: str, tasks: int, event: Any, settle: bool = True) -> List[Any]:
            self._count += 1
            if self._count % EVENTS_A_TURN == 0:
                self._resolve()
                turns.give(side)
                turns.wait(side)
                self.spent_in.append(0.0)
            if isinstance(event, events.TaskSubmitted):
                info = TaskInfo(event.task_id, event.app, event.task_id)
                # the number of a task that nobody has announced: the graph is not what is measured
                event = replace(event, node=info.node, parents=(max(0, info.task_id - 1),), token=info)
                task = self._tasks_held[info.task_id] = NewTask(info, Requirement(), None, (), b"packed", Future())
                if self._unfinished is not None:
                    self._unfinished.add(task)
            elif isinstance(event, events.ResultReceived):
                event = replace(event, info=_INFO, payload=self._result_message)
            start = time.thread_time()
            sent = self._carry_out(self._scheduler.handle(event, settle), event.time)
            self.spent_in[-1] += time.thread_time() - start
            self._tasks[step] += tasks
            return sent

        def _carry_out(self, made: List[Any], now: float) -> List[Any]:
            sent = []
            for action in made:
                if type(action) is tuple:
                    self._run_log.write(now, action)  # type: ignore[union-attr]
                elif isinstance(action, actions.AttemptEnded):
                    if self._unfinished is not None:
                        self._unfinished.ended(action)
                    else:
                        self.jobs.put((action.payload, self._tasks_held.pop(action.task_id).future))
                elif isinstance(action, actions.Dispatch):
                    sent.append(action)
            return sent

    return Run


def run(load_number: int, tasks: int, records: bool, log_path: Path) -> Spent:
    """Drive both cores, and do with the actions of that which logs what the executor's owner does.

    Parameters
    ----------
    load_number : int
        Which of ``simulation.core_speed.JUDGED``.
    tasks : int
    records : bool
        Whether result records are made, too.
    log_path : Path
        A file to be made.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    turns, run_log = _Turns(), RunLog(log_path)
    load = replace(JUDGED[load_number], tasks=tasks)
    bare_speed = importlib.import_module("bare_core_speed")
    bare = _timed(bare_speed, "bare_scheduling", turns, 0)(replace(bare_speed.JUDGED[load_number], tasks=tasks), None, records)
    full = _timed(importlib.import_module(_SPEED), _CORE, turns, 1)(load, run_log, records)
    run_log.start(endpoints=[])
    log_thread = next(thread for thread in threading.enumerate() if thread.name == "globus-compute-multi-log")
    assert log_thread.ident is not None
    clock = time.pthread_getcpuclockid(log_thread.ident)
    before = time.clock_gettime(clock)
    other = threading.Thread(target=bare.run)
    other.start()
    full.run()
    other.join()
    lines = run_log.lines - 1
    while sum(1 for _ in open(log_path, "rb")) <= lines:
        time.sleep(0.1)
    log = time.clock_gettime(clock) - before
    assert run_log.stop(60.0), "the log was not ended in time"
    assert bare.ended == full.ended == tasks and len(bare.spent_in) == len(full.spent_in), "the two cores did not do the same"
    return Spent(bare.spent_in, full.spent_in, log, full.publishing, lines)


def main() -> None:
    job = json.load(sys.stdin)
    gc.disable()  # a pass over all there is falls on whoever allocates next, seldom and for long
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asdict(run(job["load"], job["tasks"], job["records"], Path(folder) / "log.jsonl"))))


if __name__ == "__main__":
    main()
