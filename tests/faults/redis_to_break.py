"""A real Redis of one test, which can be stopped, killed and started again on the same files and address."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from services.stack import redis_server
from services.stack.home import RedisState, StackHome
from services.stack.processes import Child

Connections = dict[asyncio.StreamWriter, asyncio.Task[None] | None]
"""To a server -> what serves each."""


class RedisToBreak:
    """As `stillhouse up` starts its own."""

    def __init__(self, home: StackHome) -> None:
        self.home = home
        self._state: RedisState | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        assert self._state is not None
        return self._state.url

    @property
    def binary(self) -> Path:
        return redis_server.find_binary()

    def start(self) -> None:
        self._child, self._state = redis_server.start_redis(self.home, environment={}, last=self._state)

    def stop(self) -> None:
        """In order."""
        assert self._child is not None
        self._child.stop(10.0)

    def kill(self) -> None:
        """SIGKILL: it can't even flush."""
        assert self._child is not None
        self._child.kill()

    def signal(self, number: signal.Signals) -> None:
        """Such as SIGSTOP: it answers nobody, and keeps all connections, until SIGCONT."""
        assert self._child is not None
        os.kill(self._child.pid, number)


class DeafAfterAsking:
    """A TCP proxy before Redis: what is asked arrives, and whoever asks what ``swallows`` names is cut off before the reply."""

    def __init__(self) -> None:
        self.swallows: bytes | None = None
        """A command, such as XADD."""

    @asynccontextmanager
    async def before(self, url: str) -> AsyncIterator[str]:
        """Run; gives the URL that goes through the proxy."""
        credentials, _, place = url.removeprefix("redis://").rpartition("@")
        host, _, port = place.partition("/")[0].partition(":")

        serving: Connections = {}

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving[writer] = asyncio.current_task()
            there, back = await asyncio.open_connection(host, int(port))
            deaf = asyncio.Event()
            ways = [
                asyncio.create_task(self._ask(reader, back, deaf)),
                asyncio.create_task(self._reply(there, writer, deaf)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            for end in (back, writer):
                await closed(end)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield f"redis://{credentials}@127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        finally:
            await stop_listening(server)
            await hung_up(serving)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event) -> None:
        while found := await reader.read(1 << 16):
            if self.swallows is not None and self.swallows in found:
                deaf.set()
            writer.write(found)

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event) -> None:
        while found := await reader.read(1 << 16):
            if deaf.is_set():
                return
            writer.write(found)


async def stop_listening(server: asyncio.Server) -> None:
    """Close it; whoever it has just let in is served before, since asyncio would forget that connection and leave it open."""
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(2):  # a turn of the loop for its transport, and one for who serves it
        await asyncio.sleep(0)
    server.close()


async def hung_up(connections: Connections) -> None:
    """Cut them, and wait until nobody serves them any more."""
    for writer in connections:
        writer.transport.abort()
    await asyncio.gather(*(task for task in connections.values() if task is not None), return_exceptions=True)


async def closed(end: asyncio.StreamWriter) -> None:
    """Close it, and wait until it is."""
    end.close()
    with contextlib.suppress(ConnectionError):
        await end.wait_closed()


async def until(happened: Callable[[], Awaitable[object]], *, timeout_s: float = 20) -> None:
    """Look again and again; fail after ``timeout_s``."""
    async with asyncio.timeout(timeout_s):
        while not await happened():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)
