"""Misbehaviour on demand: rules, and whether one applies. Pure; the places that ask are in ``app``, ``submit``,
``results`` and ``routes``.
"""
from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

REQUEST, SUBMIT, ANSWER, RESULT, STATUS = "request", "submit", "answer", "result", "status"


@dataclass(frozen=True)
class Kind:
    """Where a kind of fault strikes, and its parameters: type or types, and default (``...`` = required)."""

    hook: str
    params: dict[str, tuple[Any, Any]] = field(default_factory=dict)


_NUMBER = (int, float)

KINDS: dict[str, Kind] = {
    # before the request is handled
    "reply_status": Kind(REQUEST, {"status": (int, ...), "retry_after": ((int, float, type(None)), None), "reason": (str, "fault on demand")}),
    "delay_request": Kind(REQUEST, {"seconds": (_NUMBER, ...)}),
    "drop_connection": Kind(REQUEST),
    # while a submission waits for its answer
    "result_before_answer": Kind(SUBMIT, {"results": (int, 1), "deadline_seconds": (_NUMBER, 30.0)}),
    # after the request was handled
    "lose_answer": Kind(ANSWER),
    "delay_answer": Kind(ANSWER, {"seconds": (_NUMBER, ...)}),
    "bad_answer": Kind(ANSWER),  # a page of HTML, as from a gateway in between
    "partial_answer": Kind(ANSWER, {"missing": (int, 1)}),  # to a submission: the last task ids are left out, of all tasks that were taken
    # when a result goes to the client's queue
    "duplicate_result": Kind(RESULT, {"copies": (int, 2)}),
    "late_result": Kind(RESULT, {"seconds": (_NUMBER, ...)}),
    "lose_result": Kind(RESULT),
    "reorder_results": Kind(RESULT, {"size": (int, 2), "deadline_seconds": (_NUMBER, 5.0)}),
    # when a status is asked
    "force_status": Kind(STATUS, {"status": (str, ...)}),
}

MATCH_KEYS = ("route", "method", "endpoint_id", "client_id")


class FaultError(ValueError):
    """A rule that makes no sense; the message says what is wrong with it."""


@dataclass
class Rule:
    """One rule; it applies to the next things that match, in the order in which rules were added.

    Parameters
    ----------
    id : int
        Given by the engine.
    kind : str
        One of :data:`KINDS`.
    match : dict
        ``route``, ``method``, ``endpoint_id``, ``client_id``; a key that is missing matches all. An ``endpoint_id``
        is the one in the request's path; for results, the child's or its parent's.
    count : int or None
        How often it still strikes; None = without end.
    probability : float
        That it strikes when it matches.
    seed : int
        Of its own random numbers, so that a run can be repeated.
    params : dict
        As :data:`KINDS` says.
    hits : int
        How often it struck.
    """

    id: int
    kind: str
    match: dict[str, str]
    count: int | None
    probability: float
    seed: int
    params: dict[str, Any]
    hits: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def strikes(self, known: dict[str, Collection[str]]) -> bool:
        """Whether it applies to what is `known` (for each match key, the values that hold); counts it when it does."""
        if self.count == 0 or any(wanted not in known.get(key, ()) for key, wanted in self.match.items()):
            return False
        if self.probability < 1 and self._random.random() >= self.probability:
            return False
        self.hits += 1
        if self.count is not None:
            self.count -= 1
        return True

    def as_dict(self) -> dict[str, Any]:
        """For the admin API."""
        names = ("id", "kind", "match", "count", "probability", "seed", "params", "hits")
        return {name: getattr(self, name) for name in names}


class FaultEngine:
    """The rules in force.

    Attributes
    ----------
    routes : set of str
        Names of the routes that a rule may name; the application fills it.
    """

    def __init__(self) -> None:
        self.routes: set[str] = set()
        self._rules: dict[int, Rule] = {}
        self._last_id = 0

    def add(self, spec: dict[str, Any]) -> Rule:
        """Add a rule from its JSON form (``kind`` and, optional, ``match, count, probability, seed, params``).

        Raises
        ------
        FaultError
            When a key, kind or value is wrong.
        """
        if unknown := set(spec) - {"kind", "match", "count", "probability", "seed", "params"}:
            raise FaultError(f"unknown key(s) {', '.join(sorted(unknown))}")
        kind = spec.get("kind")
        if kind not in KINDS:
            raise FaultError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        match, count, probability = spec.get("match") or {}, spec.get("count"), spec.get("probability", 1.0)
        if unknown := set(match) - set(MATCH_KEYS):
            raise FaultError(f"match: unknown key(s) {', '.join(sorted(unknown))}; known are {', '.join(MATCH_KEYS)}")
        if match.get("route") not in (None, *self.routes):
            raise FaultError(f"match: there is no route {match['route']!r}; there are {', '.join(sorted(self.routes))}")
        if count is not None and (not _is(count, int) or count < 1):
            raise FaultError(f"count must be a positive integer or null, not {count!r}")
        if not _is(probability, _NUMBER) or not 0 < probability <= 1:
            raise FaultError(f"probability must be above 0 and at most 1, not {probability!r}")
        self._last_id += 1
        rule = Rule(self._last_id, kind, match, count, probability, spec.get("seed") or 0, _params(kind, spec.get("params") or {}))
        self._rules[rule.id] = rule
        return rule

    def remove(self, rule_id: int) -> bool:
        """Take a rule out; False when there is none with this id."""
        return self._rules.pop(rule_id, None) is not None

    def clear(self) -> None:
        """Take all rules out."""
        self._rules.clear()

    def rules(self) -> list[Rule]:
        """All rules, in order."""
        return list(self._rules.values())

    def strike(self, hook: str, **known: Collection[str]) -> Rule | None:
        """The first rule of this `hook` that applies (counted as struck), or None."""
        for rule in self._rules.values():
            if KINDS[rule.kind].hook == hook and rule.strikes(known):
                return rule
        return None


def _is(value: Any, types: Any) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _params(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    known = KINDS[kind].params
    if unknown := set(given) - set(known):
        raise FaultError(f"{kind}: unknown parameter(s) {', '.join(sorted(unknown))}; known are {', '.join(known) or 'none'}")
    params = {}
    for name, (types, default) in known.items():
        value = given.get(name, default)
        if value is ...:
            raise FaultError(f"{kind}: parameter {name} is missing")
        if not _is(value, types) or (_is(value, _NUMBER) and value < 0):
            raise FaultError(f"{kind}: {name} has the wrong type or is negative: {value!r}")
        params[name] = value
    if params.get("status") not in (None, "online", "offline") and kind == "force_status":
        raise FaultError(f"force_status: status must be online or offline, not {params['status']!r}")
    if kind == "reply_status" and not 400 <= params["status"] <= 599:
        raise FaultError(f"reply_status: status must be 400 to 599, not {params['status']}")
    return params
