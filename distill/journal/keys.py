"""Who holds an API key: asked of Redis, read only, and remembered for at most a second."""

import time
from collections.abc import Callable
from datetime import datetime

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.keys import KeyRecord, id_of_key, unknown_key
from distill.journal.remembered import Remembered


class KnownKeys:
    """Checks keys; while Redis is silent nobody is let in after a second."""

    def __init__(
        self,
        redis: Redis,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = now,
    ) -> None:
        self._today = today
        self._known = Remembered(redis, KeyRecord, names.key_key, called="API keys", clock=clock)

    async def check(self, key: str) -> KeyRecord:
        """Whose key this is.

        Raises:
            NotAuthenticated: it is none, or doesn't hold.
            DependencyDown: Redis doesn't answer.
        """
        record = await self._known.find(id_of_key(key))
        if record is None:
            raise unknown_key()
        record.check(key, self._today())
        return record
