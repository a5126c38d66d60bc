"""What was published, as Redis keeps it: pages of an events stream, what is missing from it, and the record instead."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.errors import NotFound
from distill.contracts.events import Snapshot
from distill.contracts.names import Kind
from distill.contracts.records import JobRecord, StudyRecord

PAGE = 500
"""Entries that are read at once."""
BEGINNING = "0-0"


@dataclass(frozen=True)
class Kept:
    """What Redis says of a stream."""

    oldest: str | None
    """Id of the oldest entry that is kept; None if none is."""
    last: str
    """Id of the newest entry that ever was."""
    num_trimmed: int
    """Entries that are kept no more."""
    is_gone: bool = False
    """There is no such stream, and every job and study has had an event."""


GONE = Kept(oldest=None, last=BEGINNING, num_trimmed=0, is_gone=True)


@dataclass(frozen=True)
class Page:
    """Entries in order: id and fields."""

    entries: list[tuple[str, dict[str, str]]]
    kept: Kept


def is_later(identity: str, other: str) -> bool:
    """Whether a stream id comes after another."""
    return _parts(identity) > _parts(other)


def lacks(kept: Kept, *, after: str) -> bool:
    """Whether entries after the id ``after`` may be gone: who stands there can't be given all that followed.

    An id just before the oldest entry kept may be that of the newest one trimmed; that can't be told, and counts as a gap.
    """
    if kept.is_gone:
        return True
    return kept.num_trimmed > 0 and is_later(kept.oldest or kept.last, after)


async def read_page(redis: Redis, stream: str, *, after: str) -> Page:
    """At most `PAGE` entries after the id ``after``, and what is kept of the stream, both of one moment."""
    async with redis.pipeline(transaction=True) as together:
        together.xinfo_stream(stream)
        together.xrange(stream, min=f"({after}", count=PAGE)
        info, entries = await together.execute(raise_on_error=False)
    if isinstance(entries, Exception):
        raise entries
    return Page(entries, _kept(info))


async def read_snapshot(redis: Redis, kind: Kind, identity: str) -> Snapshot:
    """The record, its jobs, and the id from which events go on, all of one moment.

    Raises:
        NotFound: it is gone.
    """
    study = await _study(redis, identity) if kind == "study" else None
    jobs = [identity] if study is None else list(study.jobs.values())
    async with redis.pipeline(transaction=True) as together:
        together.xinfo_stream(names.events_key(kind, identity))
        together.mget([names.record_key("job", job) for job in jobs])
        together.get(names.record_key(kind, identity))
        info, found, record = await together.execute(raise_on_error=False)
    if isinstance(found, Exception):
        raise found
    records = [JobRecord.model_validate_json(text) for text in found if text is not None]
    if record is None:
        raise NotFound(f"there is no {kind} named {identity!r}")
    by_id = {job.id: job for job in records}
    if study is None:
        return Snapshot(after=_kept(info).last, jobs={job.role: job for job in records})
    study = StudyRecord.model_validate_json(record)
    children = {key: by_id[job] for key, job in study.jobs.items() if job in by_id}
    return Snapshot(after=_kept(info).last, study=study, jobs=children)


async def last_ids(redis: Redis, streams: Iterable[str]) -> dict[str, str]:
    """Stream -> id of the newest entry that ever was in it; the beginning if there is none."""
    wanted = list(streams)
    if not wanted:
        return {}
    async with redis.pipeline(transaction=False) as together:
        for stream in wanted:
            together.xinfo_stream(stream)
        found = await together.execute(raise_on_error=False)
    return {stream: _kept(info).last for stream, info in zip(wanted, found, strict=True)}


async def _study(redis: Redis, identity: str) -> StudyRecord:
    stored = await redis.get(names.record_key("study", identity))
    if stored is None:
        raise NotFound(f"there is no study named {identity!r}")
    return StudyRecord.model_validate_json(stored)


def _kept(info: Any) -> Kept:
    if isinstance(info, Exception):
        if "no such key" in str(info):
            return GONE
        raise info
    oldest = info["first-entry"]
    return Kept(
        oldest=oldest[0] if oldest else None,
        last=info["last-generated-id"],
        num_trimmed=info["entries-added"] - info["length"],
    )


def _parts(identity: str) -> tuple[int, int]:
    milliseconds, _, sequence = identity.partition("-")
    return int(milliseconds), int(sequence or 0)
