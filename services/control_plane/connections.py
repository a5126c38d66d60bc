"""How the control plane opens Redis: so many connections, and who finds none free waits for one."""

from collections.abc import Iterable

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.exceptions import ConnectionError as ConnectionLost

NUM_CONNECTIONS = 50
"""For short commands these serve thousands of requests a second; without a bound a crowd would open one each."""
WAIT_S = 5.0


class _Connection(Connection):
    """Says of a connection that is lost between two commands what redis-py says of all others: uvloop raises RuntimeError."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Send it. Raises ConnectionLost."""
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise ConnectionLost(f"the connection is closed: {error}") from error


def open_redis(url: str, *, socket_timeout_s: float = 5.0) -> Redis:
    """A client that waits so long for an answer; for blocking reads longer than they block."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=NUM_CONNECTIONS, timeout=WAIT_S, decode_responses=True, connection_class=_Connection,
        socket_timeout=socket_timeout_s, socket_connect_timeout=2,
    )  # fmt: skip
    return Redis.from_pool(pool)
