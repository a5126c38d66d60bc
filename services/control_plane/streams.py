"""Server-sent events: what was applied, in order, from any point, and never twice.

A follower joins the hub, reads from Redis what came before, and then goes on with what the hub gives it; ids decide
what it has had. Whatever breaks lets it go: it comes back with the last id that it saw.
"""

import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated

from fastapi import Header
from fastapi.sse import format_sse_event
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.errors import InvalidSpec, NotFound
from distill.contracts.events import Gap
from distill.contracts.facts import StudyReported
from distill.contracts.names import Kind
from distill.contracts.records import JobRecord, JobState
from services.control_plane.history import is_later, lacks, read_page, read_snapshot
from services.control_plane.hub import Entry, Feed, Hub, LetGo
from services.control_plane.store import Store
from services.control_plane.views import study_state

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0
ALIVE = b": alive\n\n"
"""A comment: it keeps proxies from cutting a silent connection."""
LARGEST = 2**63
"""Of either part of a stream id; no clock and no count comes near it."""


async def follow(
    hub: Hub, store: Store, redis: Redis, kind: Kind, identity: str, *, after: str, keep_alive_s: float = KEEP_ALIVE_S
) -> AsyncGenerator[bytes, None]:
    """Events after the stream id ``after``, live figures between them, then ``end`` when nothing more can come.

    Where events are missing that were trimmed: a ``gap``, and a ``snapshot`` of what they led to.

    Without ``end`` the follower was too slow, or Redis has gone away: whoever follows comes back with the last id that
    it saw, as browsers do.
    """
    follower = _Follower(store, redis, kind, identity, after, keep_alive_s)
    try:
        async with aclosing(follower.follow(hub)) as sent:
            async for part in sent:
                yield part
    except LetGo as why:
        log.info("a follower of %s is let go: %s", identity, why)
    except (RedisError, OSError) as error:
        log.warning("a follower of %s is let go: Redis doesn't answer (%s)", identity, error)
    except NotFound:
        log.info("a follower of %s is let go: it was deleted", identity)


def last_event_id(header: Annotated[str | None, Header(alias="Last-Event-ID", max_length=41)] = None) -> str:
    """Where a follower left off; the beginning, if it says nothing.

    Raises:
        InvalidSpec: the header is not a stream id.
    """
    found = re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", header or "0-0")
    if found and all(int(part or 0) <= LARGEST for part in found.groups()):
        return f"{found[1]}-{found[2] or 0}"
    raise InvalidSpec(
        "Last-Event-ID is not an id that this API gave",
        field="Last-Event-ID",
        got=header,
        expected="such as 1700000000000-0",
    )


class _Follower:
    """One follower of one job or study, and the last id that it was sent."""

    def __init__(self, store: Store, redis: Redis, kind: Kind, identity: str, after: str, keep_alive_s: float) -> None:
        self._store = store
        self._redis = redis
        self._kind = kind
        self._identity = identity
        self._events = names.events_key(kind, identity)
        self._last = after
        self._keep_alive_s = keep_alive_s

    async def follow(self, hub: Hub) -> AsyncGenerator[bytes, None]:
        """Replay, go on live, and begin again where something may have ended it or nothing came for a while."""
        jobs = await _jobs_of(self._store, self._kind, self._identity)
        live = {names.progress_key(job.id): (job.id, role) for role, job in jobs.items() if not job.state.is_final}
        async with hub.join({self._events}, lossy=set(live)) as feed:
            while True:
                # read before the replay: the event that led to it is then part of the replay
                ended = await self._ended()
                async for part in self._replay():
                    yield part
                if ended is not None:
                    yield format_sse_event(event="end", data_str=f'{{"state":"{ended.value}"}}')
                    return
                async for part in self._go_on(feed, live):
                    yield part

    async def _replay(self) -> AsyncGenerator[bytes, None]:
        told_of_gap = False
        while True:
            page = await read_page(self._redis, self._events, after=self._last)
            if lacks(page.kept, after=self._last) and not told_of_gap:
                told_of_gap = True
                snapshot = await read_snapshot(self._redis, self._kind, self._identity)
                gap = Gap(after=self._last, oldest=page.kept.oldest)
                self._last = snapshot.after
                yield _framed("gap", gap) + _framed("snapshot", snapshot, snapshot.after)
                continue
            if not page.entries:
                return
            self._last = page.entries[-1][0]
            yield b"".join(_event(Entry(self._events, entry, fields)) for entry, fields in page.entries)

    async def _go_on(self, feed: Feed, live: Mapping[str, tuple[str, str]]) -> AsyncGenerator[bytes, None]:
        """What the hub gives, until an event that nothing may follow, or a silence."""
        while True:
            entries = await feed.take(timeout_s=self._keep_alive_s)
            if not entries:
                yield ALIVE
                return
            parts, may_end = [], False
            for entry in entries:
                if entry.stream != self._events:
                    parts.append(_progress(entry, *live[entry.stream]))
                elif is_later(entry.id, self._last):
                    self._last = entry.id
                    parts.append(_event(entry))
                    may_end = may_end or self._may_end(entry)
            if parts:
                yield b"".join(parts)
            if may_end:
                return

    def _may_end(self, entry: Entry) -> bool:
        event = entry.content
        if self._kind == "study":
            return bool(event["fact"]["kind"] == StudyReported.model_fields["kind"].default)
        return event.get("state") is not None and JobState(event["state"]).is_final

    async def _ended(self) -> JobState | None:
        if self._kind == "study" and (await self._store.study(self._identity)).report is None:
            return None
        jobs = await _jobs_of(self._store, self._kind, self._identity)
        return study_state(dict(jobs)) if all(job.state.is_final for job in jobs.values()) else None


async def _jobs_of(store: Store, kind: Kind, identity: str) -> Mapping[str, JobRecord]:
    if kind == "job":
        job = await store.job(identity)
        return {job.role: job}
    return await store.children(await store.study(identity))


def _event(entry: Entry) -> bytes:
    return format_sse_event(event=entry.content["fact"]["kind"], id=entry.id, data_str=entry.fields["event"])


def _progress(entry: Entry, job: str, role: str) -> bytes:
    return format_sse_event(
        event="progress", data_str=f'{{"job":"{job}","role":"{role}","progress":{entry.fields["progress"]}}}'
    )


def _framed(name: str, data: BaseModel, identity: str | None = None) -> bytes:
    return format_sse_event(event=name, id=identity, data_str=data.model_dump_json())
