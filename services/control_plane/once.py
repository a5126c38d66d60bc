"""A request with an ``Idempotency-Key`` does what it asks once, and is answered the same again for a day.

Its key in Redis holds a marker while it is being answered, which expires soon if this process dies, and then the answer.
The Lua step that makes what was asked for writes the answer too, and only while the key holds this request's own
token: so one that was thought dead and goes on makes nothing.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from fastapi import Response
from pydantic import BaseModel
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import Stored
from distill.contracts.errors import InProgress, KeyReused
from services.control_plane import scripts
from services.control_plane.guarded import guarded

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
MAX_KEY = 255
KEPT_MS = 24 * 3600 * 1000
MARKER_MS = 30_000
"""A control plane that dies in the middle leaves a marker for so long; a request that takes longer makes nothing."""
RELEASE_S = 1.0


@dataclass(frozen=True)
class Asked:
    """A request that makes something."""

    key: str | None
    """Its ``Idempotency-Key``."""
    digest: str
    """Of its method, path and body."""


class Kept(Stored):
    """What a request was answered, for those that ask again; without a status, that it is being answered."""

    key: str = ""
    """Where it is kept; '' for a request without an ``Idempotency-Key``, whose answer isn't."""
    token: str = ""
    """Of the one that answers."""
    request: str
    """Digest of what was asked."""
    status: int | None = None
    location: str = ""
    body: str = ""

    def answered(self, status: int, what: BaseModel, *, location: str) -> Self:
        """This request with its answer."""
        body = what.model_dump_json(by_alias=True)
        return self.model_copy(update={"status": status, "location": location, "body": body})

    def response(self, *, replayed: bool = False) -> Response:
        """The answer, the same to the byte whenever it is asked for, but for the header that marks a replay."""
        headers = {"Location": self.location} | ({REPLAYED_HEADER: "true"} if replayed else {})
        return Response(self.body, self.status or 500, headers, media_type="application/json")


UNKEPT = Kept(request="")
"""Of what is made without an ``Idempotency-Key``."""


class Once:
    """Answers requests that make something."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._release_script = redis.register_script(scripts.RELEASE)

    async def answer(self, asked: Asked, team: str, make: Callable[[Kept], Awaitable[Kept]]) -> Response:
        """Let ``make`` do what is asked and keep its answer in one step, or replay what it was answered before.

        Raises:
            KeyReused: the key came before, with another request.
            InProgress: the request with this key is being answered.
        """
        if asked.key is None:
            return (await make(Kept(request=asked.digest))).response()
        digest = hashlib.sha256(asked.key.encode()).hexdigest()
        ticket = Kept(key=names.answer_key(team, digest), token=secrets.token_hex(16), request=asked.digest)
        before = await self._claim(ticket)
        if before is not None:
            return before.response(replayed=True)
        try:
            return (await make(ticket)).response()
        except BaseException:
            await guarded("forgetting a request that failed", self._release, ticket)
            raise

    async def _claim(self, ticket: Kept) -> Kept | None:
        """The answer of before; None if this is the first, and now marked as being answered."""
        if await self._redis.set(ticket.key, ticket.model_dump_json(), nx=True, px=MARKER_MS):
            return None
        stored = await self._redis.get(ticket.key)
        if stored is None:
            raise in_progress()
        found = Kept.model_validate_json(stored)
        if found.request != ticket.request:
            raise KeyReused(
                f"this {HEADER} came before with another request, and stands for that one for a day; take a fresh key",
                field=HEADER,
                expected="the same method, path and body as before, or another key",
            )
        if found.status is None:
            raise in_progress()
        return found

    async def _release(self, ticket: Kept) -> None:
        """Where Redis doesn't answer in time the marker expires by itself."""
        async with asyncio.timeout(RELEASE_S):
            await self._release_script(keys=[ticket.key], args=[ticket.token])


def in_progress() -> InProgress:
    """Of a request that another one with the same key is ahead of."""
    return InProgress(
        f"a request with this {HEADER} is being answered; ask again in a moment, and get its answer", field=HEADER
    )


def digest_of_request(method: str, path: str, body: bytes) -> str:
    """Equal for requests that ask for the same, to the byte."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), body))).hexdigest()
