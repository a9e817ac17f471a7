"""Which attempt does a result message belong to?"""
from __future__ import annotations

from typing import Collection, Dict, Iterable, List, Optional, Tuple

from parsl.executors.globus_compute_multi.compute.envelope import ResultMessage
from parsl.executors.globus_compute_multi.scheduling.events import Outcome

#: How long a message that matches nothing is held, in seconds: the answer to its submission may still come.
HOLD_SECONDS = 120.0

#: Most messages held. They are failures told by endpoint or service, and have no value, so they are small.
MOST_HELD = 1000

#: Task UUIDs of finished attempts that are not worth forgetting.
_FEW = 1000


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
        self._uuids: Dict[str, str] = {}
        self._held: Dict[str, Tuple[float, ResultMessage]] = {}
        self._given_up: List[Tuple[str, Outcome]] = []

    def match(self, message: ResultMessage, now: float) -> Optional[str]:
        """The attempt ID that ``message`` belongs to; None if it is foreign, or not known yet, and then held."""
        if message.session is not None:  # the runner has spoken, and knows whose attempt it was
            if message.session == self._session:
                return message.attempt_id
            self._give_up(message)
            return None
        known = self._attempts.get(message.task_uuid)
        if known is None:
            if len(self._held) >= MOST_HELD and message.task_uuid not in self._held:
                self._drop(next(iter(self._held)))
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
            self._attempts[task_uuid] = attempt_id
            self._uuids[attempt_id] = task_uuid
            held = self._held.pop(task_uuid, None)
            if held is not None:
                matched.append((attempt_id, held[1]))
        return matched

    def uuid_of(self, attempt_id: str) -> Optional[str]:
        """The service's task UUID of an attempt, if it is known."""
        return self._uuids.get(attempt_id)

    def forget_others(self, attempts: Collection[str]) -> None:
        """Forget the task UUIDs of all but these attempts, now and then: when most of them are others."""
        if len(self._uuids) < 2 * len(attempts) + _FEW:
            return
        for attempt_id in [attempt_id for attempt_id in self._uuids if attempt_id not in attempts]:
            self._attempts.pop(self._uuids.pop(attempt_id), None)

    def expire(self, now: float) -> List[Tuple[str, Outcome]]:
        """Give up on messages held too long.

        Returns
        -------
        list of (str, Outcome)
            Task UUIDs and outcomes of all messages given up since the last call, to be logged.
        """
        for task_uuid in [task_uuid for task_uuid, (since, _) in self._held.items() if now - since > HOLD_SECONDS]:
            self._drop(task_uuid)
        given_up, self._given_up = self._given_up, []
        return given_up

    def _drop(self, task_uuid: str) -> None:
        self._give_up(self._held.pop(task_uuid)[1])

    def _give_up(self, message: ResultMessage) -> None:
        self._given_up.append((message.task_uuid, message.outcome))
