"""An owner with its threads, and a service that does as the test says."""
from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from parsl.executors.globus_compute_multi.compute.dispatcher import Submission
from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.compute.governor import Governor
from parsl.executors.globus_compute_multi.compute.matching import Matcher
from parsl.executors.globus_compute_multi.compute.messages import (
    DispatchAnswered,
    ResultArrived,
)
from parsl.executors.globus_compute_multi.messages import NewTask, TaskInfo
from parsl.executors.globus_compute_multi.observe.logfile import read_log
from parsl.executors.globus_compute_multi.observe.readers import Records
from parsl.executors.globus_compute_multi.observe.runlog import RunLog
from parsl.executors.globus_compute_multi.owner import Owner
from parsl.executors.globus_compute_multi.parts import described
from parsl.executors.globus_compute_multi.resolver import Resolver
from parsl.executors.globus_compute_multi.resources import Requirement
from parsl.executors.globus_compute_multi.scheduling.events import Outcome
from parsl.executors.globus_compute_multi.scheduling.policy import Policy
from parsl.executors.globus_compute_multi.scheduling.queueing import AheadRule
from parsl.executors.globus_compute_multi.scheduling.scheduler import (
    Scheduler,
    Settings,
)
from parsl.serialize import serialize
from parsl.tests.test_globus_compute_multi.unit.driver import spec

SESSION = "session"


class Harness:
    """Stands for the dispatcher, the poller and the fetcher of an owner of two endpoints with one thread each.

    Parameters
    ----------
    path : Path
        Of the run log.
    accepts : bool
        Whether submissions are taken; else tasks stay pending.
    policy : Policy, optional
    governor : Governor, optional
        Default: one that knows no limit.
    """

    def __init__(self, path: Path, accepts: bool, policy: Optional[Policy], governor: Optional[Governor] = None) -> None:
        self.path = path
        self.accepts = accepts
        self.attempts: List[Tuple[str, bytes]] = []
        self.came = threading.Semaphore(0)
        self._given = 0
        self.records, self.run_log = Records(), RunLog(path)
        self.records.start(path, self.run_log.epoch, self.run_log.id)
        self.resolver = Resolver(records=self.records)
        self.specs = [spec("a"), spec("b")]
        self.owner = Owner(scheduler=Scheduler(self.specs, Settings(AheadRule(None, 0), None), policy), matcher=Matcher(SESSION),
                           governor=governor or Governor(None, 1.0), resolver=self.resolver, run_log=self.run_log,
                           endpoint_ids={"a": "id", "b": "id"}, ran_on=lambda node, endpoint: None)

    # what the owner calls

    def capacity(self, under_way: int) -> bool:
        return self.accepts

    def send(self, submission: Submission) -> None:
        self.attempts += submission.tasks
        pairs = tuple((f"uuid of {attempt_id}", attempt_id) for attempt_id, _ in submission.tasks)
        self.owner.post(DispatchAnswered(submission.dispatch_id, pairs))
        for _ in pairs:
            self.came.release()

    def ask(self, endpoint: str, child_id: Optional[str]) -> None:
        pass

    def fetch(self, tasks: Any) -> None:
        pass

    # what a test calls

    def submit(self, task_id: int, node: Optional[int] = None, **needs: Any) -> "Future[Any]":
        future: "Future[Any]" = Future()
        future.parsl_executor_task_id = task_id  # type: ignore[attr-defined]
        self.owner.post(NewTask(TaskInfo(task_id, "app", node), Requirement(**needs), None, (), b"packed", future))
        return future

    def started(self) -> str:
        """Wait for the next attempt to be sent; its ID."""
        assert self.came.acquire(timeout=10), "no task was dispatched"
        return self.attempts[-1][0]

    def next_attempt(self) -> str:
        """Wait for the next attempt that this has not given yet; its ID."""
        assert self.came.acquire(timeout=10), "no task was dispatched"
        self._given += 1
        return self.attempts[self._given - 1][0]

    def answer(self, attempt_id: str, value: Any = None, outcome: Outcome = Outcome.OK, **info: Any) -> None:
        self.owner.post(ResultArrived(ResultMessage(
            task_uuid=f"uuid of {attempt_id}", session=SESSION, attempt_id=attempt_id, outcome=outcome, value=serialize(value), message="",
            run_seconds=info.get("finished", 0.0) - info.get("started", 0.0), child_id="child", info=tuple(info.items()))))

    def stop(self) -> List[Dict[str, Any]]:
        """End the threads; the lines of the log."""
        assert self.owner.shut_down(10) and self.resolver.join(10) and self.records.close() and self.run_log.stop(10)
        return list(read_log(self.path))


@contextmanager
def running(path: Path, accepts: bool = True, policy: Optional[Policy] = None,
            governor: Optional[Governor] = None) -> Iterator[Harness]:
    """An owner that runs, and is stopped afterwards if the test has not done so."""
    harness = Harness(path, accepts, policy, governor)
    harness.run_log.start(endpoints=[described(each, "id") for each in harness.specs])
    harness.resolver.start()
    harness.owner.start(harness, harness, harness)  # type: ignore[arg-type]
    try:
        yield harness
    finally:
        harness.stop()
