"""What a user gets results from while a workflow runs."""
from __future__ import annotations

from typing import Any, List

from parsl.executors.globus_compute_multi.observe.readers import Reader, Records


class GivesResults:
    """The part of the executor that gives results as they come, in whatever state it is. Any thread may call it."""

    _records: Records

    def results(self) -> Reader:
        """Result records, one for each attempt that has ended, in the order in which they end, failures included.

        A failed attempt is seen before its task is tried again, and a result before its future is completed. So this gives all records of a
        workflow, as they come, and ends with it::

            results = executor.results()  # before the apps are called
            futures = [app(i) for i in range(1000)]
            for future in as_completed(futures):
                for record in results.available():
                    ...

        ``for record in executor.results()`` waits for the next record, and ends after the executor's shutdown only, for more tasks may come: run
        it on another thread, or leave it by ``break``.

        What never reaches the executor has no record: tasks whose parents have failed, those whose value Parsl has memoised, and those refused
        when they are submitted (too large, not picklable, an impossible ``parsl_resource_specification``); their futures have the error. What
        cannot be unpickled here has a record that is not ``ok``, while the log, and so a record that is read from it, says that it is.

        Returns
        -------
        Reader
            Each gives all records of the run: those from before its beginning are read from the run log, without values.
        """
        return self._records.reader()

    def values(self, app: Any = None) -> List[Any]:
        """What the tasks that are finished have returned, in the order in which they were submitted.

        In place of a value that a failed task did not return is its :class:`~.observe.records.ResultRecord`, until a retry of Parsl's has
        another outcome. The values are those that the futures have, not copies. Tasks that have no record (see :meth:`results`) are left out.

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
