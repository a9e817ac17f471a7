"""Which attempt does a result message belong to?"""
from __future__ import annotations

from typing import Dict, Iterable, List, Optional, Tuple

from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage

#: How long a message that matches nothing is held, in seconds: the answer to its submission may still come.
HOLD_SECONDS = 120.0


class Matcher:
    """Matches result messages to attempts: by our attempt ID first, which the runner returns, by the service's task UUID second.

    A message may come before the answer that tells its task UUID, and an answer may be lost for good. Used by one thread.

    Parameters
    ----------
    session : str
        Attempts of other sessions are foreign.
    """

    def __init__(self, session: str) -> None:
        self._session = session
        self._attempts: Dict[str, str] = {}
        self._held: Dict[str, Tuple[float, ResultMessage]] = {}

    def match(self, message: ResultMessage, now: float) -> Optional[str]:
        """The attempt ID that ``message`` belongs to; None if it is not known (yet), then the message is held."""
        known = self._attempts.pop(message.task_uuid, None)
        if message.session == self._session:
            return message.attempt_id
        if known is None:
            self._held[message.task_uuid] = (now, message)
        return known

    def learn(self, pairs: Iterable[Tuple[str, str]]) -> List[Tuple[str, ResultMessage]]:
        """Learn pairs of task UUID and attempt ID from an answer of the service.

        Returns
        -------
        list of (str, ResultMessage)
            Messages that were held for these attempts, with the attempt ID.
        """
        matched = []
        for task_uuid, attempt_id in pairs:
            held = self._held.pop(task_uuid, None)
            if held is None:
                self._attempts[task_uuid] = attempt_id
            else:
                matched.append((attempt_id, held[1]))
        return matched

    def expire(self, now: float) -> List[ResultMessage]:
        """Give up on messages held too long; returns them, to be logged."""
        old = [task_uuid for task_uuid, (since, _) in self._held.items() if now - since > HOLD_SECONDS]
        return [self._held.pop(task_uuid)[1] for task_uuid in old]
