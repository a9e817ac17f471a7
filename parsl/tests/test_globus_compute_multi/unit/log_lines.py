"""Lines of run logs, as a run would write them."""
from __future__ import annotations

import json

BEGAN = 1_700_000_000.0


class LogLines:
    """Makes the lines of a run; each is ``seconds`` after the one before.

    Parameters
    ----------
    pool : dict
        Endpoints: name, and number of threads of each number of cores.
    """

    def __init__(self, pool=None, seconds=1.0, began=BEGAN, **header):
        self.t = began
        self.seconds = seconds
        endpoints = [{"endpoint": name, "threads": [{"cores": cores, "count": count, "config": None} for cores, count in threads.items()]}
                     for name, threads in ({"alpha": {1: 2}} if pool is None else pool).items()]
        self.lines = [{"t": began, "kind": "log", "log": "globus_compute_multi", "schema": 2, "part": 1, "run_id": "r", "label": "multi",
                       "endpoints": endpoints, **header}]

    def add(self, **fields):
        self.t += self.seconds
        self.lines.append({"t": self.t, **fields})
        return self

    def pending(self, task, **more):
        return self.add(kind="task", task=task, state="pending", app="work", cores=1, priority=0.0, bytes=10, **more)

    def begin(self, task, endpoint="alpha", state="running", **more):
        return self.add(kind="attempt", attempt=f"{task}.1", state=state, task=task, endpoint=endpoint, thread_class=0, dispatch=task, **more)

    def finish(self, task, outcome="ok", **more):
        return self.add(kind="attempt", attempt=f"{task}.1", state="finished", outcome=outcome, **more)

    def done(self, task, **more):
        self.finish(task, started=self.t - 1.0, finished=self.t, **more)
        return self.add(kind="task", task=task, state="done", attempt=f"{task}.1")

    def failed(self, task, outcome="app_failed", **more):
        self.finish(task, outcome, **more)
        return self.add(kind="task", task=task, state="failed", attempt=f"{task}.1")

    def endpoint(self, name, state, **more):
        return self.add(kind="endpoint", endpoint=name, state=state, **more)

    def progress(self, unsubmitted, seconds_left):
        return self.add(kind="run", state="progress", unsubmitted=unsubmitted, seconds_left=seconds_left)

    def ended(self):
        return self.add(kind="log", state="ended")

    def text(self):
        return "".join(json.dumps(line) + "\n" for line in self.lines)


def eventful(**header):
    """A run with everything in it that is shown: 9 tasks, of which 3 are done and 2 failed; nothing has ended."""
    log = LogLines({"alpha": {1: 2}, "beta": {4: 1, 16: 2}, "gamma": {1: 8}}, **header)
    for task in range(1, 8):
        log.pending(task, node=task + 10)
    log.begin(1).begin(2).begin(3, state="queued_ahead").begin(4, "beta").begin(5, "gamma")
    log.done(1).add(kind="attempt", attempt="3.1", state="running").done(2).done(3)
    log.failed(5, error="ValueError")
    log.begin(6, "gamma").finish(6, "lost", message="its child process is offline")
    log.add(kind="task", task=6, state="pending", after="6.1", avoids=[])
    log.endpoint("gamma", "paused", seconds=60.0, reason="its child process is offline").endpoint("gamma", "probing")
    log.add(kind="task", task=7, state="failed", reason="impossible", message="no thread has 64 cores")
    return log.progress(2, 90.0)
