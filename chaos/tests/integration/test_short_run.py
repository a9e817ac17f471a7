"""One short run, with real agents, service, broker and proxy: what ``make test-chaos`` and CI run."""
from __future__ import annotations

from chaos.plan import Fault, plan_faults
from chaos.run import Order, run

SEED = 6

#: Of the kinds of fault, those that cost the least time.
KINDS = ("kill_child", "kill_endpoint", "restart_service", "error_503", "lose_answer", "duplicate_results", "lose_results", "latency", "reset")


def test_nothing_is_lost_twice_or_wrong_in_a_short_run():
    faults = sorted([*plan_faults(SEED, 4, 5, KINDS), Fault("reset", 0.4, "broker")], key=lambda fault: fault.at)
    result = run(Order("ours", SEED, 100, options={"failover_attempts": 10, "silence_seconds": 15}, least=len(faults)), faults)
    assert result.good, result
    assert "reset broker" in result.faults
