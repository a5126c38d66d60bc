"""Reservations as the door reads them: from Redis, each at most once a second."""

import time
from collections.abc import Callable
from datetime import datetime

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import NotFound
from distill.contracts.pool import Reservation
from distill.journal.remembered import Remembered


class Reservations:
    """Who may ask which teacher, and in whose name; while Redis is silent what was promised holds until it ends."""

    def __init__(
        self,
        redis: Redis,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = now,
    ) -> None:
        self._today = today
        self._known = Remembered(
            redis, Reservation, names.reservation_key, called="reservations", clock=clock, outlives=self._holds
        )

    async def find(self, identity: str, *, team: str) -> Reservation:
        """The reservation, if it is the team's and has not ended.

        Raises:
            NotFound: the team has none of that name, or it has ended.
            DependencyDown: Redis doesn't answer, and nothing is known of this one that still holds.
        """
        found = await self._known.find(identity)
        if found is None or not self._holds(found) or found.team != team:
            raise _no_reservation(identity)
        return found

    def _holds(self, reservation: Reservation) -> bool:
        return reservation.expires_at > self._today()


def _no_reservation(identity: str) -> NotFound:
    return NotFound(
        f"there is no reservation '{identity}', or it has ended",
        hint="open a new one with POST /v1/reservations of the control plane, and renew it before it ends",
    )
