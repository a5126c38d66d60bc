"""What lies in a Redis for ever, and should not."""

from collections.abc import AsyncIterator, Iterable

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from distill.contracts.names import is_permanent

FOR_EVER = -1
"""What Redis says is left of a key that has no time to live."""


def for_ever(redis: Redis) -> list[str]:
    """Keys without a time to live that `distill.contracts.names.PERMANENT` doesn't know."""
    return _unknown(key for key in map(str, redis.scan_iter()) if redis.pttl(key) == FOR_EVER)


async def for_ever_async(redis: AsyncRedis) -> list[str]:
    """The same."""
    keys: AsyncIterator[str] = redis.scan_iter()
    return _unknown([key async for key in keys if await redis.pttl(key) == FOR_EVER])


def _unknown(keys: Iterable[str]) -> list[str]:
    return sorted(key for key in keys if not is_permanent(key))
