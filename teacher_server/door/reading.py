"""Bodies of requests as the door reads them: bounded one by one, all together, and in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from distill.contracts.errors import InvalidSpec, TeacherBusy, TooLarge
from teacher_server.door.body import MAX_HEADER_BYTES
from teacher_server.window import MAX_WINDOW_BYTES

MAX_BODY_BYTES = MAX_WINDOW_BYTES + MAX_HEADER_BYTES
READ_S = 60.0
"""In which a body must have come."""


class Reading:
    """Reads bodies, and knows how many bytes of them are held."""

    def __init__(self, *, max_held_bytes: int, max_body_bytes: int = MAX_BODY_BYTES, read_s: float = READ_S) -> None:
        """``max_held_bytes`` of bodies at a time: further ones are refused until others are answered."""
        # one alone is taken in any case
        self._max_held_bytes = max(max_held_bytes, max_body_bytes)
        self._max_body_bytes = max_body_bytes
        self._read_s = read_s
        self._held_bytes = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body, which counts as held until the block ends.

        Raises:
            TooLarge: more than one may have, by its own word or in fact.
            TeacherBusy: other bodies are held already.
            InvalidSpec: it did not come in time.
        """
        self._check(_announced(request))
        chunks: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(self._read_s):
                    async for chunk in request.stream():
                        self._hold(chunk, chunks)
            except TimeoutError as error:
                raise InvalidSpec(f"the body of the request did not come within {self._read_s:g} s") from error
            yield b"".join(chunks)
        finally:
            self._held_bytes -= sum(map(len, chunks))

    def _hold(self, chunk: bytes, chunks: list[bytes]) -> None:
        chunks.append(chunk)
        self._held_bytes += len(chunk)
        self._check(sum(map(len, chunks)))
        if self._held_bytes > self._max_held_bytes:
            raise TeacherBusy(f"the door holds {self._held_bytes} bytes of other windows: ask again later")

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_body_bytes:
            raise TooLarge(
                f"a body of {size_bytes} bytes is more than the {self._max_body_bytes} that are taken: ask for fewer rows"
            )


def _announced(request: Request) -> int:
    text = request.headers.get("content-length", "")
    # Python refuses to read numbers of thousands of digits
    return int(text[:20]) if text.isascii() and text.isdigit() else 0
