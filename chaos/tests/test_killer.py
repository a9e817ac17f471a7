"""How faults are carried out, on stand-ins for endpoints and proxy that write down what is done to them."""
from __future__ import annotations

from types import SimpleNamespace

import pytest

from chaos import killer
from chaos.killer import Killer
from chaos.plan import KINDS, Fault
from local_globus_compute import EndpointProcesses, LocalComputeError

NAMES = ("alpha", "beta", "gamma")


class Everything:
    """Compute, admin, proxy and request watch in one."""

    def __init__(self):
        self.done = []
        self.fails = False
        self.rules = []
        self.times = 1  # that each fault of the network strikes, and each rule
        self.count = 0
        self.admin = SimpleNamespace(add_fault=self.add_fault, faults=lambda: self.rules)

    def add_fault(self, kind, **rule):
        self.done.append(("fault", kind, rule))
        self.rules.append({"id": len(self.done), "hits": self.times})
        return len(self.done)

    def restart_service(self):
        self.done.append(("restart_service",))
        self.rules = []

    def hits(self, link, kind):
        self.count += self.times
        return self.count

    def processes(self, name):
        number = 1000 * (NAMES.index(name) + 1)
        return EndpointProcesses(number, (number + 1,), (number + 2,))

    def start_endpoint(self, name):
        if self.fails:
            raise LocalComputeError("no luck")
        self.done.append(("start", name))

    def user(self):
        return "the user"

    def __getattr__(self, method):
        return lambda *arguments, **how: self.done.append((method, *arguments, *([how] if how else [])))


@pytest.fixture
def world(monkeypatch):
    world = Everything()
    monkeypatch.setattr(killer, "_signal", lambda pids, number: [world.done.append((number.name, sorted(pids)))] and len(pids))
    monkeypatch.setattr(killer, "LINK_PATIENCE", 0.2)
    monkeypatch.setattr(killer, "_LOGGED_SECONDS", 0.0)
    monkeypatch.setattr(killer, "kill_all", lambda find: world.done.append(("sessions",)))
    monkeypatch.setattr(killer, "_engine_processes", lambda kind, workers: list(workers))
    monkeypatch.setattr(killer.psutil, "pid_exists", lambda pid: True)
    return world


def strike(world, *faults, progress=lambda: 0.9):
    it = Killer(world, world, world, faults, progress)
    it.run()
    for mender in it._menders:
        if not any(fault.seconds and fault.seconds > 5 for fault in faults):
            mender.join()
    it.stop()
    return it


def test_each_kind_strikes(world):
    for kind in KINDS:
        target = {"kill_worker": "gamma", "kill_manager": "gamma", "kill_interchange": "gamma"}.get(kind, "alpha")
        it = strike(world, Fault(kind, 0.1, target, seconds=0.01, amount=1.0))
        assert [struck.fault.kind for struck in it.struck] == [kind] and world.done, kind
        assert not it.problems
        world.done.clear()


def test_a_killed_child_can_take_along_what_it_would_leave_behind(world):
    strike(world, Fault("kill_child", 0.1, "beta"))
    assert world.done == [("SIGKILL", [2001])]
    world.done.clear()
    strike(world, Fault("kill_child", 0.1, "beta", everything=True))
    assert world.done == [("SIGKILL", [2001]), ("sessions",)]


def test_a_killed_parent_is_started_again_and_one_killed_for_good_is_not(world):
    strike(world, Fault("kill_parent", 0.1, "beta", seconds=0.01))
    assert world.done == [("SIGKILL", [2000]), ("start", "beta")]
    world.done.clear()
    strike(world, Fault("kill_endpoint", 0.1, "alpha"))
    assert world.done == [("SIGKILL", [1000, 1001, 1002]), ("sessions",)]


def test_a_paused_endpoint_goes_on(world):
    strike(world, Fault("pause_endpoint", 0.1, "alpha", seconds=0.01))
    assert world.done == [("SIGSTOP", [1000, 1001, 1002]), ("SIGCONT", [1000, 1001, 1002])]


def test_the_end_of_a_run_lets_paused_endpoints_go_on_and_links_pass_but_starts_nothing(world):
    strike(world, Fault("pause_endpoint", 0.1, "alpha", seconds=60.0), Fault("stall", 0.2, "broker", seconds=60.0),
           Fault("stop_endpoint", 0.3, "beta", seconds=60.0))
    assert ("SIGCONT", [1000, 1001, 1002]) in world.done and ("set", "broker", {"stalled": False}) in world.done
    assert not [what for what in world.done if what[0] == "start"]


def test_an_endpoint_that_is_down_is_spared_for_the_next_that_is_up(world):
    it = strike(world, Fault("kill_endpoint", 0.1, "alpha", seconds=60.0), Fault("kill_child", 0.2, "alpha"))
    assert [struck.fault.target for struck in it.struck] == ["alpha", "beta"]


def test_faults_of_requests_are_for_the_users_requests_only(world):
    strike(world, Fault("error_500", 0.1, amount=2.0))
    assert ("fault", "reply_status", {"count": 2, "status": 500, "client_id": "the user"}) in world.done


def test_the_request_log_is_read_before_the_service_forgets_it(world):
    strike(world, Fault("restart_service", 0.1))
    assert world.done == [("set", "service", {"refused": True}), ("collect",), ("restart_service",), ("restarted",),
                          ("set", "service", {"refused": False})]


@pytest.mark.parametrize("kind, times", [("lose_results", 0), ("error_500", 0), ("error_500", 1)])
def test_a_restart_of_the_service_drops_no_rule_that_has_not_struck_yet(world, kind, times):
    world.times = times
    it = strike(world, Fault(kind, 0.1, amount=1.0), Fault("restart_service", 0.2))
    rules = [number for number, what in enumerate(world.done) if what[0] == "fault"]
    assert len(rules) == (1 if times else 2) and (times or rules[1] > world.done.index(("restart_service",)))
    assert [struck.hits for struck in it.tried] == [times, 1]


@pytest.mark.parametrize("kind", ["reset", "half_open", "refuse", "stall", "latency", "bandwidth", "error_503", "duplicate_results"])
def test_a_fault_that_struck_nothing_is_told_and_does_not_count(world, kind):
    world.times = 0
    it = strike(world, Fault(kind, 0.1, "broker", seconds=0.01, amount=1.0))
    assert it.struck == [] and "struck nothing" in it.problems[0] and kind in it.problems[0]


def test_a_kill_that_came_too_late_does_not_count(world, monkeypatch):
    monkeypatch.setattr(killer, "_signal", lambda pids, number: 0)
    assert strike(world, Fault("kill_child", 0.1, "alpha")).struck == []


def test_connections_are_broken_anew_until_there_was_one(world, monkeypatch):
    hits = iter([0, 0, 0, 2])
    monkeypatch.setattr(world, "hits", lambda link, kind: next(hits))
    monkeypatch.setattr(killer, "LINK_PATIENCE", 10.0)
    it = strike(world, Fault("reset", 0.1, "broker"))
    assert world.done == [("reset", "broker")] * 3 and it.struck[0].hits == 2


def test_what_cannot_be_mended_is_told(world):
    world.fails = True
    assert "no luck" in strike(world, Fault("stop_endpoint", 0.1, "alpha", seconds=0.01)).problems[0]


def test_nothing_strikes_after_the_workflow(world):
    assert strike(world, Fault("reset", 0.5, "broker"), progress=lambda: 1.0).struck == []


def test_a_fault_waits_for_its_share_of_the_workflow_but_not_for_ever(world):
    asked = []

    def progress():
        asked.append(len(world.done))  # how many had struck when it was asked
        return min(0.55, len(asked) / 10)

    it = Killer(world, world, world, [Fault("reset", 0.5, "broker"), Fault("reset", 0.6, "service")], progress, patience=1.0)
    it.run()
    assert [struck.fault.target for struck in it.struck] == ["broker", "service"]
    assert asked.count(0) >= 5


def test_if_the_engine_is_not_up_a_child_is_killed_instead(world, monkeypatch):
    monkeypatch.setattr(killer, "_engine_processes", lambda kind, workers: [])
    monkeypatch.setattr(killer, "ENGINE_PATIENCE", 0.3)
    it = strike(world, Fault("kill_manager", 0.1, "gamma"))
    assert [str(struck) for struck in it.struck] == ["kill_manager -> kill_child gamma"]
