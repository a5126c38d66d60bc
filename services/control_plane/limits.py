"""The bounds on request bodies, kept before anything is parsed: their size, their time, all of them together, their form."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distill.contracts.errors import Problem
from services.control_plane.problems import answer
from services.control_plane.strict_json import fault_of


class BodyLimit:
    """Answers 413 to a body that is too large, 408 to one too slow, 503 where too many are held, 422 to what is not JSON."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, max_held_bytes: int, read_s: float) -> None:
        """``max_bytes`` of one body, declared or found while reading; ``max_held_bytes`` of all that wait for their answer."""
        self._app = app
        self._max_bytes = max_bytes
        # one alone is taken in any case
        self._max_held_bytes = max(max_held_bytes, max_bytes)
        self._read_s = read_s
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the whole body, which is small by the bound, then hand it on."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            refusal = await self._read(scope, receive, body)
            if refusal is None:
                await self._app(scope, _replay(bytes(body), receive), send)
            elif refusal is not GONE:
                await answer(*refusal, headers={"Connection": "close"})(scope, receive, send)
        finally:
            self._held_bytes -= len(body)

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> "Refusal | None":
        """Fill ``body``, which counts as held; why it is refused, if it is."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        # Python refuses to read numbers of thousands of digits
        if declared.isdigit() and int(declared[:20]) > self._max_bytes:
            return self._too_large()
        try:
            async with asyncio.timeout(self._read_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return GONE
                    if refusal := self._hold(body, message.get("body", b"")):
                        return refusal
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            return 408, Problem(code="too_slow", message=f"the body did not come within {self._read_s:g} s")
        fault = fault_of(bytes(body)) if body else None
        return None if fault is None else (422, fault)

    def _hold(self, body: bytearray, chunk: bytes) -> "Refusal | None":
        body += chunk
        self._held_bytes += len(chunk)
        if len(body) > self._max_bytes:
            return self._too_large()
        if self._held_bytes > self._max_held_bytes:
            return 503, Problem(
                code="overloaded", message="too many other requests are being read: send it again later"
            )
        return None

    def _too_large(self) -> "Refusal":
        bound = f"{self._max_bytes:,} bytes"
        return 413, Problem(code="too_large", message=f"the body is larger than {bound}", expected=f"at most {bound}")


Refusal = tuple[int, Problem]
GONE: Refusal = (0, Problem(code="gone", message="whoever asked has hung up"))


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
