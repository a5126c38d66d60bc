"""A proxy before Redis that cuts connections where a test says so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


class Proxy:
    """Hands on what it gets; `cuts` says of which commands the reply never arrives."""

    def __init__(self) -> None:
        self.url = ""
        self.cuts: Callable[[bytes], bool] = lambda _: False
        self.num_cut = 0

    async def serve(self, client: Reader, answering: Writer, host: str, port: int) -> None:
        """One connection, until either side ends it."""
        replies, asking = await asyncio.open_connection(host, port)
        try:
            while command := await client.read(1 << 20):
                asking.write(command)
                reply = await replies.read(1 << 20)  # Redis has done it
                if self.cuts(command):
                    self.num_cut += 1
                    return
                answering.write(reply)
        finally:
            for side in (answering, asking):
                side.close()
                with contextlib.suppress(OSError):
                    await side.wait_closed()


@asynccontextmanager
async def a_proxy(redis_url: str) -> AsyncIterator[Proxy]:
    """One that listens, before that Redis; for clients that send a command at a time."""
    parts = urlsplit(redis_url)
    proxy = Proxy()

    async def serve(client: Reader, answering: Writer) -> None:
        await proxy.serve(client, answering, str(parts.hostname), parts.port or 6379)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    credentials = parts.netloc.rpartition("@")[0]
    port = server.sockets[0].getsockname()[1]
    proxy.url = urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{port}"))
    async with server:
        yield proxy
