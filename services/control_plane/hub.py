"""One reader of Redis for all that followers of this process follow, and a bounded queue for each of them.

However many follow, one blocking XREAD waits for what comes. Who joins is given all that comes from then on; what came
before lies in Redis, to be read there (`services.control_plane.history`).
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redis.asyncio import Redis

from services.control_plane.guarded import guarded
from services.control_plane.history import is_later, last_ids
from services.control_plane.store import read_streams

BLOCK_MS = 200
"""A stream that is followed anew waits at most so long for its first live entry."""
STALLED_S = 3.0
"""A reader that stood still for longer may have missed what was trimmed in the meantime."""
CAPACITY = 1000
"""Entries that may wait for one follower; who is further behind is let go."""


class LetGo(Exception):
    """The follower gets nothing more here: it comes back with the last id that it saw, and replays."""


@dataclass(frozen=True)
class Entry:
    """One entry of a stream; what is made of it is made once, for all followers."""

    stream: str
    id: str
    fields: Mapping[str, str]

    @cached_property
    def content(self) -> dict[str, Any]:
        """Its only field, read."""
        (text,) = self.fields.values()
        content: dict[str, Any] = json.loads(text)
        return content


class Feed:
    """What one follower has yet to be given."""

    def __init__(self, lossy: frozenset[str], *, capacity: int) -> None:
        """Of the streams in ``lossy`` entries are left out while others wait."""
        self._lossy = lossy
        self._capacity = capacity
        self._waiting: deque[Entry] = deque()
        self._woken = asyncio.Event()
        self._why: str | None = None

    def offer(self, entry: Entry) -> None:
        """Put it behind what waits; lets the follower go where that is too much."""
        if self._why is not None:
            return
        if entry.stream in self._lossy and len(self._waiting) >= self._capacity // 2:
            return
        if len(self._waiting) >= self._capacity:
            self.let_go(f"it is {self._capacity} entries behind")
            return
        self._waiting.append(entry)
        self._woken.set()

    def let_go(self, why: str) -> None:
        """Nothing more comes, and what waits is thrown away: it is in Redis."""
        self._why = self._why or why
        self._waiting.clear()
        self._woken.set()

    async def take(self, *, timeout_s: float) -> list[Entry]:
        """All that waits, in order, as soon as there is something; empty if nothing came for ``timeout_s``.

        Raises:
            LetGo: nothing more comes.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return []
        if self._why is not None:
            raise LetGo(self._why)
        self._woken.clear()
        found = list(self._waiting)
        self._waiting.clear()
        return found


class Hub:
    """Reads what is followed, while there are followers. One for a process."""

    def __init__(self, redis: Redis, *, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        """``redis`` waits longer for an answer than a read blocks."""
        self._redis = redis
        self._capacity = capacity
        self._clock = clock
        self._feeds: dict[str, set[Feed]] = {}
        self._cursors: dict[str, str] = {}
        """Stream -> the last entry of it that was given out."""
        self._reader: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def num_followers(self) -> int:
        """Those who have joined and not left."""
        return len(set().union(*self._feeds.values()))

    def read_until(self, stream: str) -> str | None:
        """The last entry of it that was given out; None while nobody follows it."""
        return self._cursors.get(stream)

    @asynccontextmanager
    async def join(self, streams: set[str], *, lossy: set[str]) -> AsyncIterator[Feed]:
        """Follow all of them from now on: what is not in Redis yet comes through the feed.

        Of the streams in ``lossy`` entries may be left out.

        Raises:
            LetGo: the hub is closed.
        """
        feed = Feed(frozenset(lossy), capacity=self._capacity)
        everything = streams | lossy
        ends = await last_ids(self._redis, everything)
        if self._is_closed:
            raise LetGo("the control plane stops")
        # from here on without a pause: what was in Redis before is there to be read, all else is given out
        for stream in everything:
            self._feeds.setdefault(stream, set()).add(feed)
            self._cursors.setdefault(stream, ends[stream])
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(), name="hub")
        try:
            yield feed
        finally:
            for stream in everything:
                self._leave(stream, feed)

    async def close(self) -> None:
        """Let everyone go, and stop reading."""
        self._is_closed = True
        self._let_all_go("the control plane stops")
        if self._reader is not None:
            await asyncio.wait([self._reader])

    def _leave(self, stream: str, feed: Feed) -> None:
        there = self._feeds.get(stream, set())
        there.discard(feed)
        if not there:
            self._feeds.pop(stream, None)
            self._cursors.pop(stream, None)

    async def _read(self) -> None:
        try:
            await guarded("reading for followers, who are let go,", self._read_on)
        finally:
            self._let_all_go("nobody reads Redis for it any more")
            self._reader = None

    async def _read_on(self) -> None:
        while self._cursors:
            began = self._clock()
            found = await read_streams(self._redis, dict(self._cursors), block_ms=BLOCK_MS)
            if self._clock() - began > STALLED_S:
                self._let_all_go("the control plane stood still")
            for stream, identity, fields in found:
                self._give_out(Entry(stream, identity, fields))

    def _give_out(self, entry: Entry) -> None:
        if entry.stream not in self._cursors or not is_later(entry.id, self._cursors[entry.stream]):
            return
        self._cursors[entry.stream] = entry.id
        for feed in self._feeds[entry.stream]:
            feed.offer(entry)

    def _let_all_go(self, why: str) -> None:
        for feed in {feed for feeds in self._feeds.values() for feed in feeds}:
            feed.let_go(why)
        self._feeds.clear()
        self._cursors.clear()
