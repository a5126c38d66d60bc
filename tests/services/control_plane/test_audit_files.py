"""The audit log's older entries move to files, the chain goes on over both, and a new Redis takes it up from there."""

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.audit import ServiceDid
from distill.contracts.base import now
from distill.contracts.errors import InvalidData
from services.control_plane.audit import files, moving
from services.control_plane.audit.chain import START, seal
from services.control_plane.audit.log import AuditLog
from services.control_plane.audit.moving import Mover, leaving, moved_before
from services.control_plane.audit.reading import AuditReader, Wanted
from tests.services.control_plane.audits import entries, rewrite, verdict, write
from tests.services.control_plane.records import JOB, NOON, at

LONG_AGO = now() - timedelta(days=100)
DAY = timedelta(days=1)
OLD = [ServiceDid(at=at(n * 3600), what="nothing", details={}) for n in range(10)]


@pytest.fixture
def log(redis: Redis, tmp_path: Path) -> AuditLog:
    return AuditLog(redis, tmp_path)


@pytest.fixture
def reader(redis: Redis, tmp_path: Path) -> AuditReader:
    return AuditReader(redis, tmp_path)


@pytest.fixture
def mover(redis: Redis, tmp_path: Path) -> Mover:
    return Mover(redis, tmp_path, days=30)


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "IN_ONE_FILE", 4)


def in_files(storage: Path) -> list[tuple[int, int]]:
    return [(one.first, one.last) for one in files.segments(storage)]


async def numbers(reader: AuditReader, *, limit: int = 3) -> list[int]:
    """Of all entries, page by page."""
    found: list[int] = []
    before: int | None = None
    while True:
        links, before = await reader.page(Wanted(), limit=limit, before=before)
        found += [link.number for link in links]
        if before is None:
            return found


def test_what_is_old_leaves_and_the_newest_entry_stays():
    links = seal(OLD, START)
    old = leaving(links, before=at(3 * 3600), num_too_many=0, newest=10)
    assert [link.number for link in old] == [1, 2, 3]
    assert leaving(links, before=None, num_too_many=0, newest=10) == []
    assert len(leaving(links, before=None, num_too_many=5, newest=10)) == 5
    assert len(leaving(links, before=at(10**6), num_too_many=0, newest=10)) == 9
    gap = [*links[:2], *links[4:]]
    assert [link.number for link in leaving(gap, before=at(10**6), num_too_many=0, newest=10)] == [1, 2]
    torn = [links[0]._replace(text="{torn"), *links[1:]]
    assert len(leaving(torn, before=at(2 * 3600), num_too_many=0, newest=10)) == 2


def test_whole_days_leave_together():
    assert moved_before(NOON + 31 * DAY, 30) == (NOON + DAY).replace(hour=0)
    assert moved_before(NOON, 0.25) == NOON - DAY / 4
    assert moved_before(NOON, None) is None


async def test_old_entries_move_and_the_chain_goes_on_over_both(
    redis: Redis, log: AuditLog, reader: AuditReader, mover: Mover, tmp_path: Path
):
    await write(log, 10, LONG_AGO)
    await write(log, 3, now())
    before = await reader.walk()
    assert await mover.move(now(), dry_run=True) == 10
    assert (in_files(tmp_path), await redis.xlen(names.AUDIT_KEY)) == ([], 13)
    assert await mover.move(now(), dry_run=False) == 10
    assert (in_files(tmp_path), await redis.xlen(names.AUDIT_KEY)) == ([(1, 4), (5, 8), (9, 10)], 3)
    walk = await reader.walk()
    assert (walk.fault, walk.head) == (None, before.head)
    for limit in (1, 3, 5, 100):
        assert await numbers(reader, limit=limit) == [*range(13, 0, -1)]
    assert await log.append(OLD[0]) == 14
    assert (await reader.walk()).head.number == 14
    assert await mover.move(now(), dry_run=False) == 0
    assert (tmp_path / "audit/000000000001-000000000004.jsonl").read_text().count("\n") == 4


async def test_a_log_of_old_entries_alone_keeps_the_newest_in_redis(
    redis: Redis, log: AuditLog, reader: AuditReader, mover: Mover
):
    await write(log, 5, LONG_AGO)
    assert await mover.move(now(), dry_run=False) == 4
    assert await redis.xlen(names.AUDIT_KEY) == 1
    assert await log.append(OLD[0]) == 6
    assert (await reader.walk()).fault is None


async def test_of_very_many_entries_the_older_half_moves_however_young(
    redis: Redis, log: AuditLog, reader: AuditReader, mover: Mover, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(moving, "MOST_IN_REDIS", 10)
    await write(log, 10, now())
    assert await mover.move(now(), dry_run=False) == 0
    await write(log, 1, now())
    assert await mover.move(now(), dry_run=True) == await mover.move(now(), dry_run=False) == 6
    assert await redis.xlen(names.AUDIT_KEY) == 5
    assert await numbers(reader) == [*range(11, 0, -1)]


async def test_a_crash_before_redis_forgets_doubles_nothing(
    redis: Redis, log: AuditLog, reader: AuditReader, mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await write(log, 6, LONG_AGO)

    async def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Redis, "xtrim", cut)
        with pytest.raises(KeyboardInterrupt):
            await mover.move(now(), dry_run=False)
    assert (in_files(tmp_path), await redis.xlen(names.AUDIT_KEY)) == ([(1, 4)], 6)
    await write(log, 2, now())
    assert await numbers(reader) == [*range(8, 0, -1)]
    assert (await reader.walk()).fault is None
    assert await mover.move(now(), dry_run=False) == 6
    assert in_files(tmp_path) == [(1, 4), (5, 6)]
    assert await numbers(reader) == [*range(8, 0, -1)]


async def test_a_crash_while_a_file_is_written_leaves_no_half_file(
    redis: Redis, log: AuditLog, reader: AuditReader, mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await write(log, 6, LONG_AGO)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            await mover.move(now(), dry_run=False)
    assert (in_files(tmp_path), await redis.xlen(names.AUDIT_KEY)) == ([], 6)
    assert await numbers(reader) == [*range(6, 0, -1)]


async def test_two_movers_at_once_lose_nothing(redis: Redis, log: AuditLog, reader: AuditReader, tmp_path: Path):
    await write(log, 23, LONG_AGO)
    await write(log, 2, now())
    movers = [Mover(redis, tmp_path, days=days) for days in (30, 60)]
    await asyncio.gather(*(mover.move(now(), dry_run=False) for mover in movers))
    assert await redis.xlen(names.AUDIT_KEY) == 2
    assert (await reader.walk()).fault is None
    assert await numbers(reader) == [*range(25, 0, -1)]


async def test_files_that_overlap_are_read_as_one(log: AuditLog, reader: AuditReader, mover: Mover, tmp_path: Path):
    links = seal(OLD, START)
    for first, last in ((0, 4), (2, 6), (3, 5), (5, 9)):
        files.write(tmp_path, links[first:last])
    await log.take_up()
    assert await log.append(OLD[0]) == 10
    assert (await reader.walk()).fault is None
    assert await numbers(reader) == [*range(10, 0, -1)]


FIRST = "000000000001-000000000004.jsonl"
SECOND = "000000000005-000000000008.jsonl"


def edited(name: str, edit: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(edit(lines)))

    return change


CHANGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "a line changed": (edited(SECOND, lambda lines: [lines[0].replace("nothing", "nothinG"), *lines[1:]]), 5),
    "a line removed": (edited(FIRST, lambda lines: [*lines[:1], *lines[2:]]), 2),
    "two lines swapped": (edited(FIRST, lambda lines: [lines[0], lines[2], lines[1], lines[3]]), 2),
    "the end cut off": (edited(FIRST, lambda lines: lines[:3]), 4),
    "a line torn": (edited(SECOND, lambda lines: [*lines[:3], lines[3][:20]]), 8),
    "no text at all": (lambda folder: (folder / FIRST).write_bytes(b"\xff\xfe\n" * 4), 1),
    "a file removed": (lambda folder: (folder / FIRST).unlink(), 1),
    "another file removed": (lambda folder: (folder / SECOND).unlink(), 5),
    "a file in another's place": (lambda folder: (folder / FIRST).replace(folder / SECOND), 1),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_what_is_changed_in_a_file_is_found_by_its_number(
    log: AuditLog, reader: AuditReader, mover: Mover, tmp_path: Path, what: str
):
    await write(log, 10, LONG_AGO)
    await mover.move(now(), dry_run=False)
    assert (await reader.walk()).fault is None
    change, number = CHANGES[what]
    change(tmp_path / "audit")
    walk = await reader.walk()
    assert walk.fault is not None
    assert (walk.fault.number, walk.head.number) == (number, number - 1)
    assert set(await numbers(reader)) <= {*range(1, 11)}, "and it can still be read"


async def test_what_is_cut_off_where_files_end_and_redis_begins_is_found(
    redis: Redis, log: AuditLog, reader: AuditReader, mover: Mover
):
    await write(log, 4, LONG_AGO)
    await write(log, 3, now())
    await mover.move(now(), dry_run=False)
    await rewrite(redis, lambda stream: stream[1:])
    fault = (await reader.walk()).fault
    assert fault == (5, "entry 5 is missing: 6 is the next one that is there")


async def test_an_empty_redis_takes_the_log_up_where_the_files_end(
    redis: Redis, log: AuditLog, reader: AuditReader, mover: Mover, tmp_path: Path
):
    await write(log, 6, LONG_AGO)
    await mover.move(now(), dry_run=False)
    await redis.flushdb()
    again = AuditLog(redis, tmp_path)
    await again.take_up()
    await again.take_up()
    assert await again.append(OLD[0]) == 6
    walk = await reader.walk()
    assert (walk.fault, walk.head.number) == (None, 6)
    assert await numbers(reader) == [*range(6, 0, -1)]


async def test_an_older_redis_takes_it_up_too(
    redis: Redis, log: AuditLog, reader: AuditReader, mover: Mover, tmp_path: Path
):
    await write(log, 3, LONG_AGO)
    older: Any = await redis.xrange(names.AUDIT_KEY)
    await write(log, 6, LONG_AGO)
    await mover.move(now(), dry_run=False)
    await redis.delete(names.AUDIT_KEY)
    await rewrite(redis, lambda _: older)
    again = AuditLog(redis, tmp_path)
    await again.take_up()
    assert await again.append(OLD[0]) == 9
    assert (await reader.walk()).fault is None
    assert await numbers(reader) == [*range(9, 0, -1)]
    await mover.move(now(), dry_run=False)
    assert (await reader.walk()).fault is None


async def test_a_log_does_not_go_on_after_a_file_that_is_not_what_it_was(log: AuditLog, tmp_path: Path):
    files.write(tmp_path, seal(OLD, START))
    (place,) = (tmp_path / "audit").iterdir()
    place.write_text("".join(place.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InvalidData, match=r"000000000010\.jsonl is not what"):
        await log.take_up()


async def test_over_rest_the_collection_of_garbage_moves_and_says_so(
    api: httpx.AsyncClient, redis: Redis, tmp_path: Path
):
    await redis.delete(names.AUDIT_KEY)
    await write(AuditLog(redis, tmp_path), 6, LONG_AGO)
    would = (await api.post("/v1/gc", params={"dry_run": "true"})).json()
    done = (await api.post("/v1/gc")).json()
    assert (would["audit_moved"], done["audit_moved"]) == (6, 6)
    await api.post("/v1/jobs", json=JOB)
    found = await verdict(api)
    assert (found["whole"], found["num_entries"]) == (True, 6 + 2 * 2 + 2)
    assert [one["number"] for one in await entries(api, limit=3)] == [*range(12, 0, -1)]


async def test_a_record_that_can_not_be_read_holds_up_no_entry(api: httpx.AsyncClient, redis: Redis, tmp_path: Path):
    job = (await api.post("/v1/jobs", json=JOB)).json()["id"]
    await redis.delete(names.AUDIT_KEY)
    await write(AuditLog(redis, tmp_path), 4, LONG_AGO)
    await redis.set(names.record_key("job", job), "{torn")
    with pytest.raises(ValueError, match="JobRecord"):
        await api.post("/v1/gc")
    assert in_files(tmp_path) == [(1, 4)]


async def test_garbage_that_goes_is_written_down_first(api: httpx.AsyncClient, tmp_path: Path, redis: Redis):
    folder = tmp_path / "runs/gone"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("0123456789")
    for path in (folder / "log.txt", folder):
        os.utime(path, (LONG_AGO.timestamp(),) * 2)
    await redis.hset(names.ORPHANS_KEY, "runs/gone", LONG_AGO.isoformat())
    await api.post("/v1/gc")
    assert not folder.exists()
    answered, did, asked = (await entries(api))[:3]
    assert (answered["status"], asked["route"], did["what"]) == (200, "/v1/gc", "gc")
    assert (did["details"]["things"], did["details"]["bytes"]) == (1, 10)
