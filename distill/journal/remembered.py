"""Records that are looked up with every request: each read at most once a second, by whoever may only read."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts.errors import DependencyDown, StillhouseError
from distill.journal.redis_words import in_words

FRESH_S = 1.0
"""Within so long every process has heard of a change."""

Record = TypeVar("Record", bound=BaseModel)


class Remembered(Generic[Record]):
    """Reads records of one sort; only those that exist are remembered, so nobody can fill the memory."""

    def __init__(
        self,
        redis: Redis,
        sort: type[Record],
        key: Callable[[str], str],
        *,
        called: str,
        clock: Callable[[], float] = time.monotonic,
        outlives: Callable[[Record], bool] = lambda _: False,
    ) -> None:
        """How one is read, and what is done without Redis.

        Args:
            redis: needs to do no more than GET.
            sort: what is stored.
            key: identity -> where it is stored.
            called: what these are, in errors: a word in the plural with an "s".
            clock: monotonic seconds.
            outlives: whether what was read last counts for as long as Redis doesn't answer.
        """
        self._redis = redis
        self._sort = sort
        self._key = key
        self._called = called
        self._clock = clock
        self._outlives = outlives
        self._held: dict[str, tuple[float, Record]] = {}
        """When it was asked for, and what was answered."""

    async def find(self, identity: str) -> Record | None:
        """The record as it is, or was a second ago; None where there is none.

        Raises:
            DependencyDown: Redis doesn't answer, and nothing is known that outlives that.
            StillhouseError: what is stored can't be read.
        """
        asked_at = self._clock()
        if identity in self._held and self._is_fresh(self._held[identity], asked_at):
            return self._held[identity][1]
        self._held = {one: held for one, held in self._held.items() if self._is_of_use(held, asked_at)}
        try:
            found = await self._read(identity)
        except (RedisError, OSError) as error:
            if identity not in self._held:
                raise self._down(error) from error
            found = self._held[identity][1]
        if found is None:
            self._held.pop(identity, None)
        else:
            self._held[identity] = asked_at, found
        return found

    def _is_fresh(self, held: tuple[float, Record], at: float) -> bool:
        return at - held[0] < FRESH_S

    def _is_of_use(self, held: tuple[float, Record], at: float) -> bool:
        return self._is_fresh(held, at) or self._outlives(held[1])

    async def _read(self, identity: str) -> Record | None:
        text = await self._redis.get(self._key(identity))
        if text is None:
            return None
        try:
            return self._sort.model_validate_json(text)
        except ValidationError as error:
            raise StillhouseError(
                f"what Redis holds of {self._called.removesuffix('s')} {identity} can't be read: is it of another version?"
            ) from error

    def _down(self, error: Exception) -> DependencyDown:
        what = in_words(error).partition(":")[0]  # what follows tells where it is, and who asks may be anybody
        return DependencyDown(f"Redis {what}, so {self._called} can't be checked: ask again later")
