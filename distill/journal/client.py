"""The one way to open Redis: time-outs and retries that suit this stack."""

from redis import Redis
from redis.backoff import ExponentialBackoff
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
