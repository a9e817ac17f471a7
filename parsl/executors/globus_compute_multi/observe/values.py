"""The values of all tasks so far."""
from __future__ import annotations

from typing import Any, Dict, List

from parsl.executors.globus_compute_multi.observe.records import ResultRecord

#: Where a task is not finished.
_MISSING = object()


class Values:
    """Keeps a reference to the value of each task, or its record if it has failed. Not for several threads at once."""

    def __init__(self) -> None:
        self._values: List[Any] = []  # by number of the task, counted from 0; a task that Parsl tries again has the place of its first try
        self._apps: List[str] = []
        self._places: Dict[int, int] = {}  # of failed tasks, by node

    def add(self, record: ResultRecord) -> None:
        """Take in the record that has decided a task."""
        place = record.task_id - 1
        if record.node is not None:
            place = self._places.pop(record.node, place)
            if not record.ok:
                self._places[record.node] = place
        more = place + 1 - len(self._values)
        if more > 0:
            self._values += [_MISSING] * more
            self._apps += [""] * more
        self._values[place] = record.value if record.ok else record
        self._apps[place] = record.app

    def of(self, app: Any = None) -> List[Any]:
        """The values in the order of submission, of one app (or name of one) if given."""
        name = getattr(app, "__name__", app)
        return [value for value, of_app in zip(self._values, self._apps) if value is not _MISSING and name in (None, of_app)]
