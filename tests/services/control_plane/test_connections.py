"""Connections to Redis that are lost."""

from collections.abc import Iterable

import pytest
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as ConnectionLost

from services.control_plane.connections import open_redis


async def test_a_connection_that_uvloop_finds_closed_is_a_lost_one_like_any_other(
    own_redis_url: str, monkeypatch: pytest.MonkeyPatch
):
    redis = open_redis(own_redis_url)
    await redis.ping()
    send = Connection._send_packed_command
    closed = []

    async def finds_it_closed(connection: Connection, command: Iterable[bytes]) -> None:
        if not closed:
            closed.append(connection)
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
        await send(connection, command)

    monkeypatch.setattr(Connection, "_send_packed_command", finds_it_closed)
    with pytest.raises(ConnectionLost, match="handler is closed"):
        await redis.ping()
    assert await redis.ping()
    await redis.aclose()
