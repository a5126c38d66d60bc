"""Server-sent events and followed logs: what was applied, in order, from any point."""

import asyncio
import codecs
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated

from fastapi import Header
from fastapi.sse import ServerSentEvent
from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.errors import InvalidSpec
from distill.contracts.events import Event, ProgressEvent
from distill.contracts.names import Kind
from distill.contracts.records import JobRecord, JobState, Progress
from services.control_plane.store import Store, read_streams
from services.control_plane.views import study_state

log = logging.getLogger(__name__)

BLOCK_MS = 1000
LOG_POLL_S = 0.5
LOG_CHUNK = 1 << 16


async def follow(
    store: Store, redis: Redis, kind: Kind, identity: str, *, after: str
) -> AsyncIterator[ServerSentEvent]:
    """Events after the stream id ``after``, live figures between them, then ``end`` when nothing more can come.

    Without ``end`` Redis has gone away: whoever follows comes back with the last id that it saw, as browsers do.
    """
    try:
        async for event in _followed(store, redis, kind, identity, after=after):
            yield event
    except (RedisError, OSError) as error:
        log.warning("a follower of %s is let go: Redis doesn't answer (%s)", identity, error)


async def _followed(
    store: Store, redis: Redis, kind: Kind, identity: str, *, after: str
) -> AsyncIterator[ServerSentEvent]:
    jobs = await _jobs_of(store, kind, identity)
    roles = {job.id: role for role, job in jobs.items()}
    events_key = names.events_key(kind, identity)
    cursors = {events_key: after} | {names.progress_key(job): "$" for job in roles}
    while True:
        ended = await _ended(store, kind, identity)
        found = await read_streams(redis, cursors, block_ms=None if ended else BLOCK_MS)
        for stream, entry, fields in found:
            cursors[stream] = entry
            yield _event(entry, fields) if stream == events_key else _progress(stream, fields, roles)
        if ended is not None and not found:
            yield ServerSentEvent(event="end", data={"state": ended.value})
            return


def last_event_id(header: Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)] = None) -> str:
    """Where a follower left off; the beginning, if it says nothing.

    Raises:
        InvalidSpec: the header is not a stream id.
    """
    milliseconds, dash, sequence = (header or "0-0").partition("-")
    if _is_part_of_an_id(milliseconds) and (not dash or _is_part_of_an_id(sequence)):
        return header or "0-0"
    raise InvalidSpec(
        "Last-Event-ID is not an id that this API gave",
        field="Last-Event-ID",
        got=header,
        expected="such as 1700000000000-0",
    )


def _is_part_of_an_id(text: str) -> bool:
    # len() first: Python refuses to read numbers of thousands of digits
    return len(text) <= 20 and text.isascii() and text.isdigit() and int(text) < 2**64


async def _jobs_of(store: Store, kind: Kind, identity: str) -> Mapping[str, JobRecord]:
    if kind == "job":
        job = await store.job(identity)
        return {job.role: job}
    return await store.children(await store.study(identity))


async def _ended(store: Store, kind: Kind, identity: str) -> JobState | None:
    if kind == "study" and (await store.study(identity)).report is None:
        return None
    jobs = await _jobs_of(store, kind, identity)
    return study_state(dict(jobs)) if all(job.state.is_final for job in jobs.values()) else None


def _event(entry: str, fields: Mapping[str, str]) -> ServerSentEvent:
    event = Event.model_validate_json(fields["event"])
    return ServerSentEvent(event=event.fact.kind, id=entry, data=event.model_dump(mode="json"))


def _progress(stream: str, fields: Mapping[str, str], roles: Mapping[str, str]) -> ServerSentEvent:
    job = next(job for job in roles if stream == names.progress_key(job))
    progress = Progress.model_validate_json(fields["progress"])
    event = ProgressEvent(job=job, role=roles[job], progress=progress)
    return ServerSentEvent(event="progress", data=event.model_dump(mode="json"))


async def follow_log(store: Store, storage: Path, identity: str, *, attempt: int | None) -> AsyncIterator[bytes]:
    """The log of ``attempt`` (the newest, moving on to later ones, if None) as it grows, until the job ends."""
    number = attempt or 1
    offset = 0
    while True:
        job = await store.job(identity)
        text = await asyncio.to_thread(read_log, storage, identity, number or 1, offset, LOG_CHUNK)
        offset += len(text)
        if text:
            yield text
            continue
        if attempt is None and job.attempt > number:
            number, offset = number + 1, 0
            continue
        if job.state.is_final or (attempt is not None and job.attempt > attempt):
            return
        await asyncio.sleep(LOG_POLL_S)


def read_log(storage: Path, job: str, attempt: int, offset: int, limit: int) -> bytes:
    """At most ``limit`` bytes of the attempt's log from ``offset``; empty while there are none."""
    path = storage / names.attempt_folder(job, attempt) / names.LOG_FILE
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""


def whole_characters(found: bytes, *, final: bool) -> tuple[str, int]:
    """The text of ``found`` and how many bytes it took: a character cut at the end is left for the next page."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(found, final)
    return text, len(found) - len(decoder.getstate()[0])
