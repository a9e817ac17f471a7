"""The rules of misbehaviour."""
import pytest

from local_globus_compute.service import faults
from local_globus_compute.service.faults import FaultEngine, FaultError


def engine(*specs):
    made = FaultEngine()
    made.routes |= {"submit", "task"}
    for spec in specs:
        made.add(spec)
    return made


def test_a_rule_strikes_as_often_as_its_count_says():
    rules = engine({"kind": "drop_connection", "count": 2})
    assert [rules.strike(faults.REQUEST) is not None for _ in range(3)] == [True, True, False]
    assert (rules.rules()[0].hits, rules.rules()[0].count) == (2, 0)


def test_a_rule_without_count_strikes_for_ever():
    rules = engine({"kind": "lose_answer"})
    assert all(rules.strike(faults.ANSWER) for _ in range(100))


def test_a_rule_strikes_only_where_its_kind_belongs():
    rules = engine({"kind": "lose_result"})
    assert rules.strike(faults.REQUEST) is None
    assert rules.strike(faults.RESULT) is not None


@pytest.mark.parametrize(("match", "strikes"), [
    ({}, True),
    ({"route": "submit"}, True),
    ({"route": "submit", "client_id": "c"}, True),
    ({"route": "task"}, False),
    ({"route": "submit", "client_id": "other"}, False),
    ({"endpoint_id": "e"}, False),
])
def test_all_of_a_match_must_hold(match, strikes):
    rules = engine({"kind": "drop_connection", "match": match})
    assert (rules.strike(faults.REQUEST, route=("submit",), client_id=("c",)) is not None) == strikes


def test_a_result_matches_by_child_or_by_parent():
    rules = engine({"kind": "lose_result", "match": {"endpoint_id": "parent"}})
    assert rules.strike(faults.RESULT, endpoint_id=("child", "other")) is None
    assert rules.strike(faults.RESULT, endpoint_id=("child", "parent")) is not None


def test_the_first_rule_that_applies_is_the_one_and_the_next_follows_when_it_is_used_up():
    rules = engine({"kind": "drop_connection", "count": 1}, {"kind": "reply_status", "params": {"status": 503}})
    assert [rules.strike(faults.REQUEST).kind for _ in range(2)] == ["drop_connection", "reply_status"]


def test_a_seed_makes_chance_repeatable():
    def strikes(seed):
        rules = engine({"kind": "lose_result", "probability": 0.5, "seed": seed})
        return [rules.strike(faults.RESULT) is not None for _ in range(64)]

    assert strikes(1) == strikes(1)
    assert strikes(1) != strikes(2)
    assert 16 < sum(strikes(1)) < 48


def test_rules_can_be_taken_out():
    rules = engine({"kind": "lose_answer"}, {"kind": "drop_connection"})
    assert rules.remove(1) and not rules.remove(1)
    assert [rule.kind for rule in rules.rules()] == ["drop_connection"]
    rules.clear()
    assert rules.strike(faults.REQUEST) is None


def test_parameters_have_defaults():
    rule = engine({"kind": "reply_status", "params": {"status": 429}}).rules()[0]
    assert rule.params == {"status": 429, "retry_after": None, "reason": "fault on demand"}


@pytest.mark.parametrize(("spec", "named"), [
    ({"kind": "explode"}, "kind"),
    ({"kind": "drop_connection", "colour": 1}, "colour"),
    ({"kind": "drop_connection", "match": {"weekday": "monday"}}, "weekday"),
    ({"kind": "drop_connection", "match": {"route": "status"}}, "no route 'status'; there are submit, task"),
    ({"kind": "drop_connection", "count": 0}, "count"),
    ({"kind": "drop_connection", "count": True}, "count"),
    ({"kind": "drop_connection", "probability": 0}, "probability"),
    ({"kind": "drop_connection", "probability": 1.5}, "probability"),
    ({"kind": "drop_connection", "params": {"seconds": 1}}, "seconds"),
    ({"kind": "delay_request"}, "seconds"),
    ({"kind": "delay_request", "params": {"seconds": "1"}}, "seconds"),
    ({"kind": "delay_request", "params": {"seconds": -1}}, "seconds"),
    ({"kind": "reply_status", "params": {"status": 200}}, "status"),
    ({"kind": "force_status", "params": {"status": "asleep"}}, "status"),
])
def test_a_rule_that_makes_no_sense_is_refused_by_name(spec, named):
    with pytest.raises(FaultError, match=named):
        engine(spec)
