"""How the control plane opens Redis: so many connections, and who finds none free waits for one."""

from redis.asyncio import BlockingConnectionPool, Redis

NUM_CONNECTIONS = 50
"""For short commands these serve thousands of requests a second; without a bound a crowd would open one each."""
WAIT_S = 5.0


def open_redis(url: str, *, socket_timeout_s: float = 5.0) -> Redis:
    """A client that waits so long for an answer; for blocking reads longer than they block."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=NUM_CONNECTIONS, timeout=WAIT_S, decode_responses=True,
        socket_timeout=socket_timeout_s, socket_connect_timeout=2,
    )  # fmt: skip
    return Redis.from_pool(pool)
