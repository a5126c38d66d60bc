"""Logs of attempts: a page at a time, or followed as they grow."""

import asyncio
import codecs
from collections.abc import AsyncGenerator
from pathlib import Path

from distill.contracts import names
from services.control_plane.store import Store

POLL_S = 0.5
CHUNK = 1 << 16


async def follow_log(store: Store, storage: Path, identity: str, *, attempt: int | None) -> AsyncGenerator[bytes, None]:
    """The log of ``attempt`` (the newest, moving on to later ones, if None) as it grows, until the job ends."""
    number = attempt or 1
    offset = 0
    while True:
        job = await store.job(identity)
        text = await asyncio.to_thread(read_log, storage, identity, number or 1, offset, CHUNK)
        offset += len(text)
        if text:
            yield text
            continue
        if attempt is None and job.attempt > number:
            number, offset = number + 1, 0
            continue
        if job.state.is_final or (attempt is not None and job.attempt > attempt):
            return
        await asyncio.sleep(POLL_S)


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
