"""A small HTTP server that speaks as Ray's dashboard does, and misbehaves as a test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

from tests.faults.redis_to_break import Connections, closed, hung_up, stop_listening

Manner = Literal[
    "well", "hangs", "500", "slow", "trickles", "cuts the body", "cuts the JSON", "says something else",
    "breaks after doing",
]  # fmt: skip
SLOW_S = 3.0


class RayServer:
    """Jobs and applications in memory. ``manner`` is how it answers; what it is asked it does, unless it is ``500``."""

    def __init__(self) -> None:
        self.manner: Manner = "well"
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.jobs: dict[str, str] = {}
        """Submission -> status."""
        self.on_submit: Callable[[], object] = lambda: None
        """Called once, before the first submission is answered."""
        self.url = ""
        self._server: asyncio.Server | None = None
        self._answering: Connections = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Serve on a free port of this machine."""
        await self.listen(0)
        try:
            yield self
        finally:
            await self.refuse()

    async def listen(self, port: int) -> None:
        """Take connections on this port, or on any free one where it is 0."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def refuse(self) -> None:
        """Take no connection any more, and cut those that there are."""
        assert self._server is not None
        await stop_listening(self._server)
        await hung_up(self._answering)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._answering[writer] = asyncio.current_task()
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split("\r\n")[0].split(" ")
            lengths = [
                line.partition(":")[2] for line in head.lower().split("\r\n") if line.startswith("content-length:")
            ]
            body = await reader.readexactly(int(lengths[0])) if lengths else b""
            if self.manner == "hangs":
                await reader.read()
                return
            if self.manner == "slow":
                await asyncio.sleep(SLOW_S)
            status, answer = (500, {}) if self.manner == "500" else self.answer(method, path.partition("?")[0], body)
            await self._send(writer, status, json.dumps(answer).encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            await closed(writer)

    async def _send(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        if self.manner == "breaks after doing":
            return
        if self.manner == "cuts the JSON":
            body = body[:-2]
        if self.manner == "says something else":
            body = b'{"status": "SUSPENDED"}'
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        if self.manner == "cuts the body":
            body = body[:-2]
        if self.manner == "trickles":
            for byte in head + body:
                if writer.is_closing():
                    return
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)
            return
        writer.write(head + body)
        await writer.drain()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Do what is asked; the status and the body of the answer."""
        match method, path.strip("/").split("/"):
            case "POST", ["api", "jobs"]:
                return self._submit(json.loads(body)["submission_id"])
            case "POST", ["api", "jobs", submission, "stop"]:
                self.stopped.append(submission)
                return 200, {"stopped": True}
            case "GET", ["api", "jobs"]:
                return 200, []
            case "GET", ["api", "jobs", submission]:
                known = submission in self.jobs
                return (200, {"status": self.jobs[submission], "message": ""}) if known else (404, {})
            case "GET", ["api", "serve", "applications"]:
                return 200, {"applications": {}}
            case "GET", ["nodes"]:
                return 200, {"data": {"summary": [{"raylet": {"state": "ALIVE", "resourcesTotal": {"CPU": 2.0}}}]}}
        return 200, {}

    def _submit(self, submission: str) -> tuple[int, Any]:
        on_submit, self.on_submit = self.on_submit, lambda: None
        if submission in self.jobs:
            return 500, {"error": f"Job with submission_id {submission} already exists."}
        self.started.append(submission)
        self.jobs[submission] = "RUNNING"
        on_submit()
        return 200, {"submission_id": submission}
