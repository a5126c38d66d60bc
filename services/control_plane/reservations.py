"""Reservations: promises to keep a teacher there for a training loop of one's own. Each ends by itself unless renewed."""

import asyncio
import secrets
from datetime import timedelta

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import NotFound
from distill.contracts.pool import Reservation
from distill.contracts.teachers import ResolvedTeacher
from services.control_plane import scripts
from services.control_plane.once import KEPT_MS, UNKEPT, Kept, in_progress

LIVES_S = 30.0
"""After this, a caller that died or lost its way no longer holds a teacher; renew every 10 s to be safe."""


class Reservations:
    """The living ones, in Redis: a key of each, which expires with it, and an index by when that is."""

    def __init__(self, redis: Redis, *, door: str) -> None:
        """``door`` is the base URL that callers are told."""
        self._redis = redis
        self._reserve = redis.register_script(scripts.RESERVE)
        self._door = door
        self.one_at_a_time = asyncio.Lock()
        """Whoever looks whether there is room for one keeps it before another looks."""

    def new(self, teacher: ResolvedTeacher, *, team: str, rows_per_s: float) -> Reservation:
        """One that begins now, and isn't kept yet."""
        moment = now()
        return Reservation(
            id=_new_identity(teacher.name), team=team, teacher=teacher, rows_per_s=rows_per_s, created_at=moment,
            expires_at=moment + timedelta(seconds=LIVES_S), door=self._door,
        )  # fmt: skip

    async def create(self, teacher: ResolvedTeacher, *, team: str, rows_per_s: float) -> Reservation:
        """Begin one."""
        reservation = self.new(teacher, team=team, rows_per_s=rows_per_s)
        await self.keep(reservation)
        return reservation

    async def keep(self, reservation: Reservation, *, answer: Kept = UNKEPT) -> None:
        """Let a new one live, and keep the answer of the request that asked for it, in one step.

        Raises:
            InProgress: the request was thought dead, and another one with its key has taken its place.
        """
        text = answer.model_dump_json() if answer.key else ""
        expires, milliseconds = reservation.expires_at.timestamp(), int(LIVES_S * 1000)
        kept = await self._reserve(
            keys=[answer.key, names.reservation_key(reservation.id), names.RESERVATIONS_KEY],
            args=[answer.token, text, KEPT_MS, reservation.model_dump_json(), milliseconds, reservation.id, expires],
        )
        if kept == -1:
            raise in_progress()

    async def renew(self, identity: str) -> Reservation:
        """Let it live for another `LIVES_S` from now. Raises NotFound."""
        renewed = (await self.read(identity)).model_copy(update={"expires_at": now() + timedelta(seconds=LIVES_S)})
        key, milliseconds = names.reservation_key(identity), int(LIVES_S * 1000)
        if not await self._redis.set(key, renewed.model_dump_json(), px=milliseconds, xx=True):
            raise no_reservation(identity)
        await self._redis.zadd(names.RESERVATIONS_KEY, {identity: renewed.expires_at.timestamp()})
        return renewed

    async def end(self, identity: str) -> None:
        """End it now. Raises NotFound."""
        await self._redis.zrem(names.RESERVATIONS_KEY, identity)
        if not await self._redis.delete(names.reservation_key(identity)):
            raise no_reservation(identity)

    async def read(self, identity: str) -> Reservation:
        """One that lives. Raises NotFound."""
        stored = await self._redis.get(names.reservation_key(identity))
        if stored is None:
            raise no_reservation(identity)
        return Reservation.model_validate_json(stored)

    async def living(self) -> list[Reservation]:
        """All of every team, the oldest first; what has ended leaves the index."""
        await self._redis.zremrangebyscore(names.RESERVATIONS_KEY, "-inf", now().timestamp())
        identities = await self._redis.zrange(names.RESERVATIONS_KEY, 0, -1)
        keys = [names.reservation_key(str(identity)) for identity in identities]
        stored = await self._redis.mget(keys) if keys else []
        found = [Reservation.model_validate_json(text) for text in stored if text is not None]
        return sorted(found, key=lambda one: (one.created_at, one.id))


def _new_identity(teacher: str) -> str:
    """Readable, not to be guessed (whoever knows it asks in its team's name), and at most 64 characters, as a job's name is."""
    return f"{teacher}-{secrets.token_hex(7)}"


def no_reservation(identity: str) -> NotFound:
    """What is said of one that isn't there, and of one that is another team's."""
    return NotFound(
        f"there is no reservation {identity!r}: it was ended, or not renewed within {LIVES_S:.0f} s",
        got=identity,
        hint="make a new one: POST /v1/reservations",
    )
