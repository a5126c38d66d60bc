"""What is wrong with Redis, in words for a person: refusing, or not answering."""

from redis import exceptions
from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts import names

PROBE_MS = 10_000
REFUSALS = {
    "OOM": "is out of memory, and takes no more facts: give it more (`maxmemory`)",
    "READONLY": "is read-only: it is a replica, and the address should be its primary's",
    "NOREPLICAS": "has fewer replicas than `min-replicas-to-write` asks for",
    "MISCONF": "can't write to its disk",
}
"""Error prefix -> words. A Lua step that meets one of them has changed nothing: the first write is refused."""


def in_words(error: Exception) -> str:
    """Why Redis didn't do as it was asked, as what follows after "Redis"."""
    match error:
        case exceptions.OutOfMemoryError():
            return REFUSALS["OOM"]
        case exceptions.ReadOnlyError():
            return REFUSALS["READONLY"]
        case exceptions.BusyLoadingError():
            return "is still loading its data from disk"
        case exceptions.AuthenticationError() | exceptions.NoPermissionError():
            return f"doesn't let us in: {error}"
        case exceptions.TimeoutError():
            return "is slow: it didn't answer in time"
    for prefix, words in REFUSALS.items():
        if str(error).startswith(prefix):
            return words
    return f"doesn't answer: {error}"


def is_refusal(error: Exception) -> bool:
    """Whether Redis said no, so that what was asked has surely not been done."""
    return isinstance(error, exceptions.BusyLoadingError) or in_words(error) in REFUSALS.values()


async def what_is_wrong(redis: Redis) -> str | None:
    """Try to write, and say what keeps Redis from it; None where nothing does."""
    error = await _refuses(redis)
    if type(error) is exceptions.ConnectionError:  # it may have been a connection to a Redis that is no more
        error = await _refuses(redis)
    return None if error is None else in_words(error)


async def _refuses(redis: Redis) -> Exception | None:
    try:
        await redis.set(names.PROBE_KEY, "1", px=PROBE_MS)
    except (RedisError, OSError) as error:
        return error
    return None
