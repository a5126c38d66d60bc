"""A real HTTP server in the test's process that is told of ends, and answers as each test says."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

CUT = 0
"""In place of a status: the connection ends without an answer."""
NEVER = -1
"""In place of a status: no answer until the receiver is closed."""


@dataclass
class Told:
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes

    def verify(self, secret: str) -> None:
        """As a library for Standard Webhooks does."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert self.headers["webhook-signature"] == f"v1,{expected}"


@dataclass
class Receiver:
    """Answers with ``statuses`` in turn, then with 200."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> list[str]:
        """Of what was told, in order."""
        return [one.headers["webhook-id"] for one in self.told]

    async def serve(self, reader: Any, writer: Any) -> None:
        """One request of one connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in rest)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.told.append(Told(line, headers, body))
        status = self.statuses.pop(0) if self.statuses else 200
        self.answered.set()
        if status == NEVER:
            await self.closed.wait()
        elif status != CUT:
            more = f"Location: http://127.0.0.1:{self.port}/elsewhere\r\n" if 300 <= status < 400 else ""
            writer.write(f"HTTP/1.1 {status} X\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver(statuses=list(statuses))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.closed.set()
        server.close()
