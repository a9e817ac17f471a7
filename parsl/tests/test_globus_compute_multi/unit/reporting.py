"""Logs of runs that never were, and the pages made of them, for tests of the report."""
from __future__ import annotations

import heapq
import json
import random
import re

from parsl.executors.globus_compute_multi.observe.report.page import make_page
from parsl.executors.globus_compute_multi.observe.report.reading import read_run

HEADER = {"kind": "log", "log": "globus_compute_multi", "schema": 2, "part": 1, "run_id": "generated", "label": "multi", "parsl": "2026.10.26",
          "policy": "EarliestFinish()"}


def header(threads, t=0.0, **each):
    """A header: ``threads`` of one core by endpoint; ``each`` is what endpoints have besides, by name."""
    return {"t": t, **HEADER, "endpoints": [
        {"endpoint": name, "id": f"id of {name}", "filesystem": name, "threads": [{"cores": 1, "count": count, "config": None}],
         **each.get(name, {})} for name, count in threads.items()]}


def generated(tasks, threads, seed=0, begin=1.8e9, seconds=1.0, failing=0.02, skew=None, layers=5, fan_in=3, error="ValueError", ended=True):
    """Lines of a run of a layered workflow: those of a scheduler with a queue, attempts that fail now and then, and endpoints with latencies.

    Tasks of a layer but the first depend on up to ``fan_in`` ones of the layer before; they are submitted when those are done.
    """
    rng = random.Random(seed)
    skew = skew or {}
    now = begin
    events, serial = [], 0  # of attempts under way: (time, number, what)
    names = list(threads)
    free = {name: count for name, count in threads.items()}
    per_layer = max(1, tasks // layers)
    parents = {n: () for n in range(min(per_layer, tasks))}
    for n in range(per_layer, tasks):
        before = n // per_layer * per_layer
        parents[n] = tuple({rng.randrange(before - per_layer, before) for _ in range(fan_in)})
    children = {}
    for n, some in parents.items():
        for parent in some:
            children.setdefault(parent, []).append(n)
    missing = {n: len(some) for n, some in parents.items()}
    pending, tries, dispatch, left = [], {}, 0, tasks
    yield header(threads, begin - 1.0, **{names[0]: {"cost_per_core_hour": 0.5}})
    for name in names:
        yield {"t": begin - 0.9, "kind": "endpoint", "endpoint": name, "state": "status", "online": True}

    def submit(n):
        pending.append(n)
        more = {"parents": list(parents[n])} if parents[n] else {}
        return {"t": now, "kind": "task", "task": n, "state": "pending", "app": f"app_{n // per_layer}", "cores": 1, "priority": 0.0,
                "bytes": 900, "node": n, **more}

    for n in range(min(per_layer, tasks)):
        yield submit(n)
    while left:
        for name in names:
            while free[name] and pending:
                n = pending.pop(0)
                tries[n] = tries.get(n, 0) + 1
                attempt = f"{n}.{tries[n]}"
                dispatch += 1
                free[name] -= 1
                yield {"t": now, "kind": "attempt", "attempt": attempt, "state": "running", "task": n, "endpoint": name, "thread_class": 0,
                       "dispatch": dispatch}
                started = now + rng.uniform(0.02, 0.3)
                finished = started + rng.expovariate(1 / seconds)
                serial += 1
                heapq.heappush(events, (finished + rng.uniform(0.01, 0.5), serial, (n, attempt, name, started, finished)))
        now, _, (n, attempt, name, started, finished) = heapq.heappop(events)
        free[name] += 1
        outcome = "ok" if rng.random() >= failing else rng.choice(["app_failed", "lost", "task_failed"])
        line = {"t": now, "kind": "attempt", "attempt": attempt, "state": "finished", "outcome": outcome}
        if outcome in ("ok", "app_failed"):
            shift = skew.get(name, 0.0)
            line.update(started=started + shift, finished=finished + shift, host=f"{name}-node", python="3.11.2", dill="0.4.0")
            if outcome == "app_failed":
                line["error"] = error
        else:
            line["message"] = f"no news of {attempt}"
        yield line
        if outcome in ("lost", "task_failed") and tries[n] < 3:
            yield {"t": now, "kind": "task", "task": n, "state": "pending", "after": attempt, "avoids": [name]}
            pending.append(n)
            continue
        yield {"t": now, "kind": "task", "task": n, "state": "done" if outcome == "ok" else "failed", "attempt": attempt}
        left -= 1
        for child in children.get(n, ()):
            missing[child] -= 1
            if not missing[child]:
                yield submit(child)
    if ended:
        yield {"t": now + 0.1, "kind": "log", "state": "ended"}


def lines_of(*fields, threads=None, **each):
    """A log of a pool with these threads, a line each second."""
    return [header(threads or {"a": 1}, 0.0, **each), *({"t": float(i), **f} for i, f in enumerate(fields, 1))]


def pending(task, **more):
    return {"kind": "task", "task": task, "state": "pending", "app": "work", "cores": 1, "priority": 0.0, "bytes": 1, **more}


def running(task, endpoint="a", attempt=1, state="running", **more):
    return {"kind": "attempt", "attempt": f"{task}.{attempt}", "state": state, "task": task, "endpoint": endpoint, "thread_class": 0,
            "dispatch": 1, **more}


def finished(task, outcome="ok", attempt=1, **more):
    return {"kind": "attempt", "attempt": f"{task}.{attempt}", "state": "finished", "outcome": outcome, **more}


def ended(task, state="done", **more):
    return {"kind": "task", "task": task, "state": state, "attempt": f"{task}.1", **more}


def page_of(lines):
    return make_page(read_run(lines), "run.jsonl", "/* plotly.js */")


def figures_of(page):
    found = re.findall('<script type="application/json" id="(figure[0-9]+)-data">(.*?)</script>', page, re.DOTALL)
    assert [name for name, _ in found] == re.findall("<div class=figure id=(figure[0-9]+) ", page)
    return {name: json.loads(text) for name, text in found}
