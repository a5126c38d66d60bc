"""Keys as text: bit for bit the same after the way there and back, and all of one moment."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import Conflict, StillhouseError
from distill.contracts.facts import AttemptClaimed, QueueReason
from distill.contracts.records import JobRecord, StudyRecord
from distill.contracts.study import StudySpec
from services.backup import keys
from services.backup.backup import records_of
from services.backup.keys import Entry, claim, finish, from_lines, open_for_copy, put, take, to_lines
from services.control_plane.store import Store
from tests.services.control_plane.records import NOON, TAUGHT, a_queued_job

LONG_MS = 10**15


@pytest.fixture
def old(redis: AsyncRedis, own_redis_url: str) -> Iterator[Redis]:
    with open_for_copy(own_redis_url) as client:
        yield client
        client.flushdb()


@pytest.fixture
def new(redis: AsyncRedis, new_url: str) -> Iterator[Redis]:
    with open_for_copy(new_url) as client:
        yield client
        client.flushdb()


def moved(old: Redis, new: Redis) -> list[Entry]:
    entries = from_lines(to_lines(take(old)))
    claim(new, "sha256:a")
    put(new, entries, now_ms=0)
    finish(new, "1")
    return entries


def everything(redis: Redis) -> dict[str, object]:
    return {one.key: (one.type, one.value) for one in take(redis) if one.key != names.SCHEMA_KEY}


def test_every_type_comes_back_as_it_was(old: Redis, new: Redis):
    old.set("stillhouse:a", 'ünïcode, "quotes"\nand lines')
    old.set("stillhouse:b", b"\xff\x00 no text at all \xfe")
    old.hset("stillhouse:c", mapping={"field": "1", "\udcff": "2"})
    old.sadd("stillhouse:d", "x", "y")
    old.zadd("stillhouse:e", {"a": 1730000000.123456, "b": float("inf"), "c": -0.1})
    old.rpush("stillhouse:f", "x", "x", "y")
    moved(old, new)
    assert everything(new) == everything(old)
    for key in "abcdef":
        assert new.execute_command("TYPE", f"stillhouse:{key}") == old.execute_command("TYPE", f"stillhouse:{key}")
    assert new.zscore("stillhouse:e", "a") == 1730000000.123456
    known = new.connection_pool.connection_kwargs
    with Redis(**{name: known[name] for name in ("host", "port", "db", "password")}) as bytes_client:
        assert bytes_client.get("stillhouse:b") == b"\xff\x00 no text at all \xfe"


def test_a_stream_knows_what_it_knew_also_when_it_is_empty(old: Redis, new: Redis):
    for key in ("stillhouse:full", "stillhouse:empty"):
        for number in range(1, 4):
            old.xadd(key, {"n": str(number), "m": "x"}, id=f"{number}-{number}")
        old.xdel(key, "2-2")
    old.xtrim("stillhouse:empty", maxlen=0)
    moved(old, new)
    for key in ("stillhouse:full", "stillhouse:empty"):
        assert new.xrange(key) == old.xrange(key)
        for figure in ("last-generated-id", "entries-added", "max-deleted-entry-id", "length"):
            assert new.xinfo_stream(key)[figure] == old.xinfo_stream(key)[figure], figure
    with pytest.raises(Exception, match="equal or smaller"):
        new.xadd("stillhouse:empty", {"n": "late"}, id="3-3")


def test_what_is_about_to_end_is_left_and_the_rest_ends_when_it_would_have(old: Redis, new: Redis):
    old.set("stillhouse:lease", 1, px=5000)
    old.set("stillhouse:day", 1, ex=86_400)
    entries = moved(old, new)
    assert [one.key for one in entries] == ["stillhouse:day"]
    assert new.pexpiretime("stillhouse:day") == pytest.approx(old.pexpiretime("stillhouse:day"), abs=50)


def test_what_has_ended_since_is_not_brought_back(old: Redis, new: Redis):
    old.set("stillhouse:day", 1, ex=86_400)
    put(new, take(old), now_ms=LONG_MS)
    assert new.keys() == []


def test_keys_of_others_are_none_of_ours(old: Redis):
    old.set("elsewhere:a", 1)
    assert take(old) == []


def test_a_type_that_we_do_not_know_is_no_copy_of_everything(old: Redis, monkeypatch: pytest.MonkeyPatch):
    old.set("stillhouse:a", 1)
    monkeypatch.setattr(keys, "SNAPSHOT", keys.SNAPSHOT.replace("redis.call('TYPE', key).ok", "'bloom'"))
    with pytest.raises(StillhouseError, match="stillhouse:a is a bloom"):
        take(old)


def test_a_line_is_json_for_whoever_reads_it_in_ten_years(old: Redis):
    old.hset("stillhouse:usage:a:2026-11", "rows", 7)
    (line,) = to_lines(take(old)).splitlines()
    assert json.loads(line) == {"key": "stillhouse:usage:a:2026-11", "type": "hash", "value": {"rows": "7"}}


async def test_while_others_write_a_copy_is_of_one_moment(old: Redis, store: Store):
    stop = asyncio.Event()

    async def work(number: int) -> None:
        round_ = 0
        while not stop.is_set():
            round_ += 1
            study = StudyRecord(
                id=f"s-{number}-{round_}", spec=StudySpec.model_validate({"name": "s", "job": TAUGHT}),
                jobs={"student": f"j-{number}-{round_}"}, created_at=NOON, updated_at=NOON,
            )  # fmt: skip
            job = a_queued_job(f"j-{number}-{round_}").model_copy(update={"study": study.id})
            await store.create_jobs([job], study)
            for text in ("one", "two", "three"):
                await store.append("job", job.id, QueueReason(code="waits", text=text, at=NOON))
            await store.append("job", job.id, AttemptClaimed(attempt=1, at=NOON))

    workers = [asyncio.create_task(work(number)) for number in range(4)]
    copies = []
    until = now() + timedelta(seconds=3)
    while now() < until or len(copies) < 5:
        copies.append(await asyncio.to_thread(take, old))
    stop.set()
    await asyncio.gather(*workers)
    for copy in copies:
        fits_itself(copy)
    assert len({len(copy) for copy in copies}) > 2  # they did write meanwhile


def fits_itself(entries: list[Entry]) -> None:
    by_key = {one.key: one.value for one in entries}
    jobs = {job.id: job for job in records_of(entries, JobRecord)}
    studies = records_of(entries, StudyRecord)
    listed = {member for member, _ in by_key.get(names.index_key("job"), [])}
    assert listed == jobs.keys() == {job for study in studies for job in study.jobs.values()}
    for job in jobs.values():
        told = by_key[names.events_key("job", job.id)]["entries"]
        assert len(told) == job.revision + 1
        assert len(by_key[names.events_key("study", str(job.study))]["entries"]) == len(told)
        assert json.loads(by_key[names.directive_key(job.id)])["version"] == job.revision


def test_an_empty_redis_is_claimed_once(new: Redis):
    claim(new, "sha256:a")
    claim(new, "sha256:a")
    with pytest.raises(Conflict, match="sha256:a"):
        claim(new, "sha256:b")


def test_one_that_a_control_plane_only_marked_is_empty(new: Redis):
    new.set(names.SCHEMA_KEY, "1")
    claim(new, "sha256:a")
    assert new.keys() == [names.RESTORING_KEY]


@pytest.mark.parametrize("key", [names.RECONCILER_KEY, names.index_key("job"), names.WAKE_KEY])
def test_one_that_is_used_is_refused_and_left_as_it_is(new: Redis, key: str):
    new.set(key, "x", ex=60)
    with pytest.raises(Conflict, match=f"not empty.*{key}"):
        claim(new, "sha256:a")
    assert new.keys() == [key]


def test_a_half_restored_redis_is_not_backed_up(new: Redis):
    claim(new, "sha256:a")
    with pytest.raises(Conflict, match="not finished"):
        take(new)
