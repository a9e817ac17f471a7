"""How the cost of the hooks is measured; the times themselves are not measured here."""
from __future__ import annotations

import pytest

import hooks
from hooks import RELEASE, WITH_HOOKS, BenchmarkError, Spread, last_rate, order

TOLD = """==== Iteration 1 ====
Tasks per second: 900.100
==== Iteration 2 ====
Tasks per second: 1234.500
Tests complete - leaving DFK block
The end
"""


def test_the_rate_is_that_of_the_last_iteration():
    assert last_rate(TOLD) == 1234.5


@pytest.mark.parametrize("told", ["", TOLD.replace("Tests complete", "Traceback"), "Tests complete"])
def test_a_run_that_did_not_finish_has_no_rate(told):
    with pytest.raises(BenchmarkError, match="did not finish"):
        last_rate(told)


def test_each_side_is_first_as_often_as_second():
    assert [order(pair)[0] for pair in range(4)] == [RELEASE, WITH_HOOKS] * 2
    assert all(set(order(pair)) == {RELEASE, WITH_HOOKS} for pair in range(4))


@pytest.mark.parametrize("count, low, high, sure", [
    (1, 1, 1, 0.0), (2, 1, 2, 0.5), (5, 1, 5, 0.9375), (6, 1, 6, 0.96875), (10, 2, 9, 0.978515625)])
def test_the_interval_of_the_median_is_that_of_textbooks(count, low, high, sure):
    assert Spread(range(count, 0, -1)).interval == (low, high, sure)


@pytest.mark.parametrize("ratios, status, verdict", [
    ([0.9, 1.1] * 5, 0, "0.0% faster: within noise"),
    ([0.98] * 8 + [1.01] * 2, 0, "2.0% slower: within noise"),
    ([0.98] * 9 + [1.01], 1, "2.0% slower: MORE THAN NOISE"),
    ([1.02] * 10, 1, "2.0% faster: MORE THAN NOISE"),
])
def test_the_status_is_1_if_one_side_is_hardly_as_fast_as_the_other(monkeypatch, capsys, tmp_path, ratios, status, verdict):
    runs = iter(ratios)
    monkeypatch.setattr(hooks, "FORK", tmp_path)
    monkeypatch.setattr(hooks, "unpack_release", lambda target: None)
    monkeypatch.setattr(hooks, "check_side", lambda tree, hooks: None)
    monkeypatch.setattr(hooks, "tasks_per_second", lambda tree, seconds: 1000.0 * (next(runs) if tree == tmp_path else 1.0))
    assert hooks.main(["--runs", "10"]) == status
    assert capsys.readouterr().out.splitlines()[-1] == f"{WITH_HOOKS} {verdict}"


def test_the_release_has_no_hooks_and_the_fork_has(tmp_path):
    hooks.unpack_release(tmp_path)
    hooks.check_side(tmp_path, hooks=False)
    hooks.check_side(hooks.FORK, hooks=True)
    with pytest.raises(BenchmarkError, match="should have the hooks"):
        hooks.check_side(tmp_path, hooks=True)


def test_parsl_perf_runs_on_the_release(tmp_path):
    hooks.unpack_release(tmp_path)
    assert hooks.tasks_per_second(tmp_path, 0.05) > 0


def test_without_a_fork_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(hooks, "FORK", tmp_path / "none")
    with pytest.raises(BenchmarkError, match="make fork"):
        hooks.unpack_release(tmp_path)


@pytest.mark.parametrize("arguments", [["--runs", "1"], ["--time", "0"]])
def test_options_that_measure_nothing_are_refused(arguments):
    with pytest.raises(SystemExit):
        hooks.main(arguments)
