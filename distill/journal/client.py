"""The ways to open Redis: time-outs and retries that suit this stack."""

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry


def open_redis(url: str) -> Redis:
    """A blocking client for short commands (not for blocking reads: they need a longer socket time-out)."""
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=5,
        socket_connect_timeout=2,
        retry=Retry(ExponentialBackoff(0.5, 0.05), 2),
    )


def open_to_look_up(url: str) -> AsyncRedis:
    """A client that looks something up while somebody waits; for a user who may do nothing else.

    It doesn't introduce itself, as other clients do: Redis would refuse that, and write it down as a trespass.
    """
    return AsyncRedis.from_url(
        url,
        decode_responses=True,
        socket_timeout=2,
        socket_connect_timeout=1,
        retry=AsyncRetry(NoBackoff(), 1),
        driver_info=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
