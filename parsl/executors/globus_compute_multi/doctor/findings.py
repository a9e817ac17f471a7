"""What a check has found."""
from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from enum import Enum

#: A remedy that several checks have.
TRY_LATER = "see https://status.globus.org, and try again later"

#: Most characters of a text; what an endpoint or a proxy says may be a whole page.
_LONGEST = 1500

_IN_ADDRESS = re.compile(r"(\w+://)[^/@\s]*@")
_IN_HEADER = re.compile(r"\b(Bearer|Basic)\s+\S+", re.IGNORECASE)


class Verdict(str, Enum):
    """How serious it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What one check has found. The texts are made safe to be printed: one line, no control characters, no credentials.

    Parameters
    ----------
    check : str
        What was looked at.
    verdict : Verdict
    text : str
        What was found.
    remedy : str
        What to do; a warning or a problem has one.

    Raises
    ------
    ValueError
        If a warning or a problem has no remedy.
    """

    check: str
    verdict: Verdict
    text: str
    remedy: str = ""

    def __post_init__(self) -> None:
        for name in ("check", "text", "remedy"):
            object.__setattr__(self, name, printable(getattr(self, name)))
        if self.verdict in (Verdict.WARNING, Verdict.PROBLEM) and not self.remedy:
            raise ValueError(f"{self.check}: a {self.verdict.value} needs a remedy")

    def lines(self) -> str:
        """It for people: one line, and one for the remedy."""
        remedy = f"\n{'':9}to do: {self.remedy}" if self.remedy else ""
        return f"{self.verdict.value:<9}{self.check}: {self.text}{remedy}"

    def to_json(self) -> str:
        """It for programs: a JSON object."""
        return json.dumps({**asdict(self), "verdict": self.verdict.value})


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.OK, text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """Tasks will run, though not as well as they could, or perhaps not."""
    return Finding(check, Verdict.WARNING, text, remedy)


def problem(check: str, text: str, remedy: str) -> Finding:
    """Tasks will not run."""
    return Finding(check, Verdict.PROBLEM, text, remedy)


def skipped(check: str, text: str) -> Finding:
    """It was not looked at; the text says why."""
    return Finding(check, Verdict.SKIPPED, text)


def look_in_between(address: str) -> str:
    """What to do where an answer cannot be the service's."""
    return ("something in between may answer in the service's place (a login page of the network, a proxy): "
            f"open {address} in a browser to see what")


def printable(text: str) -> str:
    """A text from anywhere on one line, without what would steer a terminal, and without credentials."""
    secret = os.environ.get("GLOBUS_COMPUTE_CLIENT_SECRET")
    text = _IN_HEADER.sub(r"\1 ***", _IN_ADDRESS.sub(r"\1***@", text.replace(secret, "***") if secret else text))
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
