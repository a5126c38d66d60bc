"""Who holds an API key: asked of Redis, read only, and remembered for at most a second."""

import time
from collections.abc import Callable
from datetime import datetime

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import DependencyDown, NotAuthenticated, StillhouseError
from distill.contracts.keys import KeyRecord, id_of_key
from distill.journal.redis_words import in_words

FRESH_S = 1.0
"""Within so long a revoked key is refused by every process."""


class KnownKeys:
    """Checks keys; only those that exist are remembered, so nobody can fill the memory."""

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
        self._known: dict[str, tuple[float, KeyRecord]] = {}
        """When it was asked for, and what was answered."""

    async def check(self, key: str) -> KeyRecord:
        """Whose key this is.

        Raises:
            NotAuthenticated: it is none, or doesn't hold.
            DependencyDown: Redis doesn't answer.
        """
        record = await self._record(id_of_key(key))
        record.check(key, self._today())
        return record

    async def _record(self, identity: str) -> KeyRecord:
        asked_at = self._clock()
        read_at, known = self._known.get(identity, (0.0, None))
        if known is not None and asked_at - read_at < FRESH_S:
            return known
        self._known = {one: held for one, held in self._known.items() if asked_at - held[0] < FRESH_S}
        found = await self._read(identity)
        self._known[identity] = asked_at, found
        return found

    async def _read(self, identity: str) -> KeyRecord:
        try:
            text = await self._redis.get(names.key_key(identity))
        except (RedisError, OSError) as error:
            what = in_words(error).partition(":")[0]  # what follows tells where it is, and who asks may be anybody
            raise DependencyDown(f"Redis {what}, so API keys can't be checked: ask again later") from error
        if text is None:
            raise NotAuthenticated("this API key is not known here", got="an unknown key")
        try:
            return KeyRecord.model_validate_json(text)
        except ValidationError as error:
            raise StillhouseError(
                f"what Redis holds of key {identity} can't be read: is it of another version?"
            ) from error
