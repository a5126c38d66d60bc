"""Reservations as the door reads them: from Redis, each at most once a second."""

import time
from collections.abc import Callable
from datetime import datetime

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import DependencyDown, NotFound, StillhouseError
from distill.contracts.pool import Reservation

FRESH_S = 1.0


class Reservations:
    """Who may ask which teacher, and in whose name."""

    def __init__(
        self,
        redis: Redis,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = now,
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._today = today
        self._known: dict[str, tuple[float, Reservation]] = {}
        """When it was read, and what it said then; those that ended are thrown out."""

    async def find(self, identity: str, *, team: str) -> Reservation:
        """The reservation, if it is the team's and has not ended.

        Raises:
            NotFound: the team has none of that name, or it has ended.
            DependencyDown: Redis doesn't answer, and nothing is known of this one that still holds.
        """
        read_at, known = self._known.get(identity, (0.0, None))
        if known is None or self._clock() - read_at > FRESH_S:
            known = await self._read(identity, known)
        if known is None or known.expires_at <= self._today():
            self._known.pop(identity, None)
            raise _no_reservation(identity)
        if known.team != team:
            raise _no_reservation(identity)
        return known

    async def _read(self, identity: str, last: Reservation | None) -> Reservation | None:
        try:
            text = await self._redis.get(names.reservation_key(identity))
        except (RedisError, OSError) as error:
            if last is not None:  # it was promised until it ends
                self._known[identity] = self._clock(), last
                return last
            raise DependencyDown("Redis doesn't answer, so reservations can't be looked up: ask again later") from error
        if text is None:
            return None
        found = _parsed(identity, text)
        self._forget_ended()
        self._known[identity] = self._clock(), found
        return found

    def _forget_ended(self) -> None:
        today = self._today()
        self._known = {name: held for name, held in self._known.items() if held[1].expires_at > today}


def _no_reservation(identity: str) -> NotFound:
    return NotFound(
        f"there is no reservation '{identity}', or it has ended",
        hint="open a new one with POST /v1/reservations of the control plane, and renew it before it ends",
    )


def _parsed(identity: str, text: str | bytes) -> Reservation:
    try:
        return Reservation.model_validate_json(text)
    except ValidationError as error:
        raise StillhouseError(
            f"what Redis holds of reservation '{identity}' can't be read: is the control plane of another version?"
        ) from error
