"""What the parts of the service share."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .config import Limits
from .faults import FaultEngine
from .limits import RequestWindow
from .requestlog import RequestLog


@dataclass
class Controls:
    """What can be watched and changed while the service runs.

    Parameters
    ----------
    limits : Limits
        In force now.
    window : RequestWindow
        Counts against them.
    faults : FaultEngine
        Misbehaviour asked for.
    log : RequestLog
        Requests seen.
    counters : Counter
        What happened how often, by name.
    """

    limits: Limits
    window: RequestWindow
    faults: FaultEngine
    log: RequestLog
    counters: Counter[str]

    @classmethod
    def starting_with(cls, limits: Limits) -> Controls:
        """Controls of a service that has seen nothing yet."""
        window = RequestWindow(limits.requests, limits.window_seconds, limits.count_refused)
        return cls(limits, window, FaultEngine(), RequestLog(), Counter())

    def set_limits(self, limits: Limits) -> None:
        """Put other limits in force."""
        self.limits = limits
        self.window.set(limits.requests, limits.window_seconds, limits.count_refused)
