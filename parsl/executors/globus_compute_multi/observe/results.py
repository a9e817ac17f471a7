"""What a user gets results from while a workflow runs."""
from __future__ import annotations

from typing import Any, List

from parsl.executors.globus_compute_multi.observe.readers import Reader, Records


class GivesResults:
    """The part of the executor that gives results as they come, in whatever state it is. Any thread may call it."""

    _records: Records

    def results(self) -> Reader:
        """Result records, one for each attempt that has ended, in the order in which they end, failures included.

        ``for record in executor.results(): ...`` waits for the next one, and ends after the executor's shutdown: so run it on another thread,
        or leave it by ``break``. A failed attempt is seen before its task is tried again, and a result before its future is completed.

        Returns
        -------
        Reader
            Each gives all records of the run: those from before its beginning are read from the run log, without values.
        """
        return self._records.reader()

    def values(self, app: Any = None) -> List[Any]:
        """What the tasks that are finished have returned, in the order in which they were submitted.

        In place of a value that a failed task did not return is its :class:`~.observe.records.ResultRecord`, until a retry of Parsl's has
        another outcome. The values are those that the futures have, not copies.

        Parameters
        ----------
        app : str or app, optional
            Of which app. Default: of all.

        Raises
        ------
        ValuesNotKept
            If the executor was not made with ``aggregate_results=True``.
        """
        return self._records.values(app)
