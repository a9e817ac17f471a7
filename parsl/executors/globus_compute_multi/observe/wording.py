"""Times, numbers and names in words, for whatever people look at."""
from __future__ import annotations

import time
import unicodedata
from typing import Optional

_FAILURES = {
    "app_failed": "raised by the app", "raised": "raised outside Parsl's wrapper, or value not packed", "too_large": "value too large",
    "impossible": "no thread could ever run it", "endpoints_failed": "all attempts failed outside the app", "policy": "policy failed",
    "lost": "lost with its endpoint", "credentials": "credentials not accepted", "cancelled": "cancelled",
    "shutdown": "not done at shutdown", "not_unpacked": "endpoint could not unpack it", "task_failed": "endpoint or service failed",
    "unreadable": "result unreadable", "rejected": "submission refused"}


def failure(kind: str, error: Optional[str] = None) -> str:
    """Why a task or an attempt failed.

    Parameters
    ----------
    kind : str
        A value of :class:`~.scheduling.events.Outcome`, or of :class:`~.scheduling.actions.FailureKind`.
    error : str, optional
        Name of the type that the app raised.
    """
    words = _FAILURES.get(kind, kind)
    return f"{words}: {plain(error)}" if error and kind == "app_failed" else words


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for limit, unit, part, smaller in ((3600, 60, 1, "min s"), (86400, 3600, 60, "h min"), (float("inf"), 86400, 3600, "d h")):
        if whole < 60:
            break
        if whole < limit:
            large, small = smaller.split()
            rest = whole % unit // part
            return f"{whole // unit} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def clock(t: float, now: float) -> str:
    """The time of day of ``t``, in seconds since the epoch, with the day if that is not the day of ``now``."""
    at, today = time.localtime(t), time.localtime(now)
    return time.strftime("%H:%M:%S" if at[:3] == today[:3] else "%Y-%m-%d %H:%M", at)


def rate(per_second: Optional[float]) -> str:
    """``12/s``, ``1.5/s``, ``3.0/min``, ``0.5/h``; ``-`` if not known."""
    if not per_second:
        return "-" if per_second is None else "0/s"
    for unit, factor in (("s", 1.0), ("min", 60.0)):
        if per_second * factor >= 1:
            break
    else:
        unit, factor = "h", 3600.0
    value = per_second * factor
    return f"{value:,.0f}/{unit}" if value >= 100 else f"{value:.1f}/{unit}"


def plain(text: str) -> str:
    """``text`` on one line, with what would move the cursor, change colours or reverse the writing shown as ``?``."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def width(text: str) -> int:
    """Columns that ``text`` takes in a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cropped(text: str, columns: int) -> str:
    """``text`` in at most so many columns, ending in ``...`` if it was longer."""
    if width(text) <= columns:
        return text
    kept = ""
    for c in text:
        if width(kept + c) > columns - 3:
            break
        kept += c
    return kept + "..."
