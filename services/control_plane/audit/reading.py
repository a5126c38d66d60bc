"""The log's reader: Redis and files as one, backwards for pages, onwards for verification.

Entries are in files before Redis forgets them, so Redis is asked first: what it has no more is in a file.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis

from distill.contracts import names
from services.control_plane.audit import files
from services.control_plane.audit.chain import Head, Link, Walk, entry_of

AT_ONCE = 500
"""Entries that are read from Redis in one go."""
MOST_LOOKED_AT = 5_000
"""A page ends when so many were looked at, however few it holds."""
SKEW = timedelta(minutes=10)
"""By so much the clocks of several control planes may differ, at most: further back nothing is looked for."""


@dataclass(frozen=True)
class Wanted:
    """What a page is narrowed to; all of it must hold."""

    team: str | None = None
    """None: all teams, and what the service did by itself."""
    key: str | None = None
    path: str | None = None
    """What the path, or the route, begins with."""
    since: datetime | None = None
    """At this moment or later."""
    until: datetime | None = None
    """Earlier than this moment."""

    def matches(self, entry: dict[str, Any]) -> bool:
        """Whether an entry belongs into the page."""
        moment = datetime.fromisoformat(entry["at"])
        starts = tuple(str(entry.get(one, "")) for one in ("path", "route"))
        return (
            self.team in {None, entry.get("team")}
            and self.key in {None, entry.get("key")}
            and (self.path is None or any(one.startswith(self.path) for one in starts))
            and (self.since is None or moment >= self.since)
            and (self.until is None or moment < self.until)
        )

    def ends_at(self, entry: dict[str, Any]) -> bool:
        """Whether what comes before this entry is all too old."""
        return self.since is not None and datetime.fromisoformat(entry["at"]) < self.since - SKEW


class Picked(NamedTuple):
    """What was wanted of some entries."""

    links: list[Link]
    last: int
    """Number of the last one that was looked at."""
    is_over: bool
    """Nothing before it can be wanted."""


def pick(links: Sequence[Link], wanted: Wanted, room: int) -> Picked:
    """At most ``room`` of them; what can't be read is passed over: a verification finds it."""
    kept: list[Link] = []
    for link in links:
        entry = entry_of(link.text)
        if entry and wanted.ends_at(entry):
            return Picked(kept, link.number, is_over=True)
        if entry and wanted.matches(entry):
            kept.append(link)
        if len(kept) == room:
            return Picked(kept, link.number, is_over=False)
    return Picked(kept, links[-1].number, is_over=False)


class AuditReader:
    """Reads; it changes nothing."""

    def __init__(self, redis: Redis, storage: Path) -> None:
        self._redis = redis
        self._storage = storage

    async def page(self, wanted: Wanted, *, limit: int, before: int | None) -> tuple[list[Link], int | None]:
        """What is wanted of the entries below the number ``before``, the newest first, and from where on there may be more.

        Raises:
            OSError: the storage doesn't answer.
            redis.RedisError: Redis doesn't answer.
        """
        kept: list[Link] = []
        num_left = MOST_LOOKED_AT
        while num_left > 0 and (links := await self._back(before)):
            found = await asyncio.to_thread(pick, links[:num_left], wanted, limit - len(kept))
            kept += found.links
            before = found.last
            if found.is_over or before <= 1:
                return kept, None
            if len(kept) == limit:
                return kept, before
            num_left -= len(links)
        return kept, before if num_left <= 0 else None

    async def walk(self, noted: Head | None = None) -> Walk:
        """The whole chain, from its first entry to the one that is the newest now. Raises as `page`."""
        newest = await self._back(None)
        walk = Walk(noted)
        while newest and walk.fault is None and walk.head.number < newest[0].number:
            links = await self.onward(walk.head.number + 1)
            await asyncio.to_thread(walk.take, links)
        walk.end()
        return walk

    async def onward(self, first: int) -> Sequence[Link]:
        """Some entries from the number ``first`` on, or after it where that is missing; none at the end. Raises as `page`."""
        found = unbroken(links_of(await self._redis.xrange(names.AUDIT_KEY, min=f"{first}-0", count=AT_ONCE)), step=1)
        if found and found[0].number == first:
            return found
        older = await asyncio.to_thread(files.onward, self._storage, first)
        return min((one for one in (older, found) if one), key=lambda links: links[0].number, default=[])

    async def _back(self, before: int | None) -> Sequence[Link]:
        """Some entries below a number, the newest first, without a gap in between; none where there are none."""
        newest = "+" if before is None else f"({before}-0"
        found = unbroken(links_of(await self._redis.xrevrange(names.AUDIT_KEY, max=newest, count=AT_ONCE)), step=-1)
        if found and before in {None, found[0].number + 1}:
            return found
        older = await asyncio.to_thread(files.back, self._storage, before if before is not None else 10**12)
        return max((one for one in (older, found) if one), key=lambda links: links[0].number, default=[])


def unbroken(links: Sequence[Link], *, step: int) -> list[Link]:
    """Those at the beginning whose numbers follow one another: what is missing after them may be in a file."""
    return [link for place, link in enumerate(links) if link.number == links[0].number + step * place]


def links_of(entries: Any) -> list[Link]:
    """What a stream holds: the ids are the entries' numbers."""
    return [
        Link(int(identity.partition("-")[0]), fields.get("entry", ""), fields.get("hash", ""))
        for identity, fields in entries
    ]
