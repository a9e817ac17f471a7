"""Which versions the workers of an endpoint have, and what it breaks that they differ from ours.

Found by running packed tasks and values across versions, with everything else alike:

* Python 3.10, 3.11, 3.12 and 3.13 read each other's values, but do not run each other's functions: dill sends bytecode, which the other
  version misreads. Of ten functions of a script about half ended the worker with a segmentation fault, and most others raised SystemError, or
  errors that look like the app's own.
* dill 0.3.8, 0.3.9 and 0.4.0 read each other's pickles; 0.3.5 and 0.3.9 do not.
* Parsl before 2026 packs values in a way that Parsl of 2026 does not read.
* Globus Compute SDK before 4 does not know the format in which the runner is registered.
"""
from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import Counter, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

import dill
import globus_compute_sdk

import parsl.version
from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.scheduling.events import Outcome

#: What is looked at, as it is called in ``ResultMessage.info``.
KEYS = ("python", "parsl", "dill", "sdk")

_NAMES = {"python": "Python", "parsl": "Parsl", "dill": "dill", "sdk": "the Globus Compute SDK"}

#: How many of a version's numbers must be the same. Parsl and dill promise nothing, so they must be the same altogether.
_NUMBERS = {"python": 2, "parsl": 3, "dill": 4, "sdk": 1}

_BREAKS = {
    "python": "functions of your script may crash the workers, or fail with errors that seem to be the app's (SystemError, TypeError, ...)",
    "parsl": "values and exceptions may not be readable here, and bash apps and file staging may fail there",
    "dill": "functions and classes of your script may not be readable there, or here",
    "sdk": "tasks may not be readable there at all",
}

#: Most warnings of an endpoint, most children of which is known what they have said, and most of what each has said that is noted: child IDs
#: come and go, and so may versions where workers differ.
_MOST_WARNINGS, _MOST_CHILDREN, _MOST_NOTED = 5, 1000, 20

_OUTSIDE_THE_APP = frozenset({Outcome.NOT_UNPACKED, Outcome.TASK_FAILED, Outcome.UNREADABLE})


def our_versions() -> Dict[str, str]:
    """The versions here, by the keys of ``KEYS``."""
    return {"python": platform.python_version(), "parsl": parsl.version.VERSION, "dill": dill.__version__,
            "sdk": globus_compute_sdk.__version__}


def differences(theirs: Mapping[str, object], ours: Mapping[str, str]) -> List[str]:
    """The keys of ``theirs`` whose version differs from ours so that something breaks; those that are not known do not."""
    return [key for key in KEYS if key in theirs and _numbers(key, theirs[key]) != _numbers(key, ours[key])]


def explain(theirs: Mapping[str, object], ours: Mapping[str, str]) -> str:
    """Which versions differ, for people; empty if none does.

    Parameters
    ----------
    theirs : mapping of str to object
        Versions at the endpoint by the keys of ``KEYS``; others are ignored, and so is what is not known.
    ours : mapping of str to str
    """
    return ", ".join(f"{_NAMES[key]} is {theirs[key]} there and {ours[key]} here" for key in differences(theirs, ours))


def _numbers(key: str, version: object) -> List[str]:
    # Parsl writes the same version as 2026.07.27 and 2026.7.27
    return [part.lstrip("0") or "0" for part in str(version).split(".")[:_NUMBERS[key]]]


class Noted(NamedTuple):
    """Versions of a child that are new, and what there is to say of them.

    Parameters
    ----------
    versions : dict
    warning : str
        What differs, what that breaks, and what to do; empty if nothing does, or if it was said before.
    """

    versions: Dict[str, str]
    warning: str


@dataclass
class _Child:
    """What is known of a child's versions, how they differ from ours, for people, and what of that was noted and warned of."""

    known: Dict[str, str] = field(default_factory=dict)
    different: str = ""
    noted: Set[Tuple[Tuple[str, str], ...]] = field(default_factory=set)
    warned: Set[str] = field(default_factory=set)


class VersionCheck:
    """Keeps the versions of each child's workers, as its results tell them.

    Parameters
    ----------
    ours : mapping of str to str, optional
        Default: those of this process.
    """

    def __init__(self, ours: Optional[Mapping[str, str]] = None) -> None:
        self._ours = ours if ours is not None else our_versions()
        self._children: Dict[Tuple[str, Optional[str]], _Child] = {}  # the one that was heard of last is last
        self._warnings: Counter[str] = Counter()

    def note(self, endpoint: str, result: ResultMessage) -> Optional[Noted]:
        """Take in a result from ``endpoint``; what is new in it, or None."""
        theirs = {key: str(value) for key, value in result.info if key in KEYS and value != "none"}  # the runner's word for: not installed
        key = endpoint, result.child_id
        child = self._children[key] = self._children.pop(key, _Child())
        if len(self._children) > _MOST_CHILDREN:
            del self._children[next(iter(self._children))]
        # Without an envelope it may not be a worker that speaks, but the process that starts them, in an environment of its own.
        known = {**child.known, **theirs} if result.attempt_id is not None else {**theirs, **child.known}
        if known == child.known:
            return None
        child.known, child.different = known, explain(known, self._ours)
        combination = tuple(sorted(child.known.items()))
        if combination in child.noted or len(child.noted) == _MOST_NOTED:
            return None
        child.noted.add(combination)
        return Noted(dict(child.known), self._warning(endpoint, child))

    def _warning(self, endpoint: str, child: _Child) -> str:
        theirs, different = child.known, child.different
        if not different or different in child.warned or self._warnings[endpoint] == _MOST_WARNINGS:
            return ""
        child.warned.add(different)
        self._warnings[endpoint] += 1
        breaks = "; ".join(_BREAKS[key] for key in differences(theirs, self._ours))
        return f"Endpoint {endpoint}: {different}. So {breaks}. Use the same versions on both sides."

    def outcome(self, endpoint: str, result: ResultMessage) -> Tuple[Outcome, str]:
        """How an attempt ended, and what went wrong, for people: the difference in versions too, if it may be the reason.

        A SystemError under another Python is bytecode misread, and so no failure of the app's. Call :meth:`note` first.
        """
        child = self._children.get((endpoint, result.child_id))
        if child is None or not child.different:
            return result.outcome, result.message
        outcome, different = result.outcome, child.different
        if outcome in (Outcome.APP_FAILED, Outcome.RAISED) and "python" in differences(child.known, self._ours) \
                and dict(result.info).get("error") == "SystemError":
            outcome = Outcome.NOT_UNPACKED
        return outcome, f"{result.message} ({different})" if outcome in _OUTSIDE_THE_APP else result.message
