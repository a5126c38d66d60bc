"""How a stream is sent: at most so many at once, each freed as soon as its client goes away or takes no more."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Send

from distill.contracts.errors import TooManyStreams

log = logging.getLogger(__name__)

SEND_S = 10.0
"""A client that takes nothing for so long, while there is something for it, is let go."""


class Slots:
    """Who follows how much, in this process."""

    def __init__(self, *, of_all: int, of_team: int) -> None:
        """The most streams at once, of all teams and of each."""
        self._of_all = of_all
        self._of_team = of_team
        self._taken: Counter[str] = Counter()

    @property
    def num_taken(self) -> int:
        """Streams that are sent now."""
        return self._taken.total()

    @contextmanager
    def taken(self, team: str) -> Iterator[None]:
        """Hold a place for a stream.

        Raises:
            TooManyStreams: there is none left.
        """
        for num_taken, bound, whose in (
            (self._taken[team], self._of_team, f"team {team} follows"),
            (self.num_taken, self._of_all, "this control plane sends"),
        ):
            if num_taken >= bound:
                raise TooManyStreams(
                    f"{whose} {num_taken} events and logs already, and no more at once are allowed",
                    expected=f"at most {bound}",
                    hint="stop following some, or try again later",
                )
        self._taken[team] += 1
        try:
            yield
        finally:
            self._taken[team] -= 1
            self._taken += Counter()  # forget teams that follow nothing


class _Stream(StreamingResponse):
    """What a generator of bytes yields, until it ends, its client goes away, or the client takes nothing any more."""

    def __init__(self, content: AsyncGenerator[bytes, None], *, send_s: float = SEND_S) -> None:
        super().__init__(content, headers=HEADERS)
        self._content = content
        self._send_s = send_s

    async def stream_response(self, send: Send) -> None:
        """Send it; what it holds is let go of before this returns."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._content) as parts:
            try:
                async for part in parts:
                    await self._send(send, part, more=True)
                await self._send(send, b"", more=False)
            except TimeoutError:
                # to return without an end makes the server close the connection
                log.info("a follower is let go: it took nothing for %.0f s", self._send_s)

    async def _send(self, send: Send, part: bytes, *, more: bool) -> None:
        async with asyncio.timeout(self._send_s):
            await send({"type": "http.response.body", "body": part, "more_body": more})


class EventStream(_Stream):
    """Server-sent events."""

    media_type = "text/event-stream"


SENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, until `end`.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "description": "Each event; comments between them keep the line open.",
                    "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
                    "required": ["event", "data"],
                }
            }
        },
    }
}
"""What a route that answers with an `EventStream` says of it in the OpenAPI document."""


class LogStream(_Stream):
    """Text as it comes."""

    media_type = "text/plain; charset=utf-8"


HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Nobody on the way keeps it, or waits until there is more of it."""
