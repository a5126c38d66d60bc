"""What an older Stillhouse wrote is brought forward, whoever dies on the way; what a newer one wrote is refused."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.errors import Conflict
from services.control_plane.migrations import (
    MIGRATIONS,
    SCHEMA_VERSION,
    LeaseLost,
    Migration,
    Work,
    bring_up_to_date,
    steps_between,
)
from services.control_plane.store import Store
from tests.services.control_plane.records import a_queued_job

NUM_JOBS = 23
BATCH = 5
TEAMS_KEY = f"{names.PREFIX}baselines:test"


class PowerCut(Exception):
    """The process ends here."""


class IntoTeams:
    """A real migration: every job becomes a field of a hash, with a count of how often it was put there."""

    def __init__(self, *, cut_after: int | None = None) -> None:
        self.batches = 0
        self._cut_after = cut_after

    async def __call__(self, work: Work) -> None:
        jobs = sorted(await work.redis.zrange(names.index_key("job"), 0, -1))
        while left := [job for job in jobs if job > work.came_to][:BATCH]:
            if self.batches == self._cut_after:
                raise PowerCut
            await work.batch(left[-1], self._puts(left))
            self.batches += 1

    def _puts(self, jobs: list[str]) -> Any:
        async def put(pipe: Any) -> None:
            pipe.multi()
            for job in jobs:
                pipe.hincrby(TEAMS_KEY, job, 1)

        return put


async def to_two(redis: Redis, run: Any) -> None:
    await bring_up_to_date(redis, wanted="2", migrations=(Migration("1", "2", run),))


@pytest.fixture
async def jobs(store: Store) -> list[str]:
    """Jobs that were made with schema 1."""
    await store.check_schema()
    made = [a_queued_job(f"job-{number:03d}") for number in range(NUM_JOBS)]
    await store.create_jobs(made)
    return [job.id for job in made]


async def test_a_new_redis_is_marked(redis: Redis, store: Store):
    await store.check_schema()
    assert await redis.get(names.SCHEMA_KEY) == SCHEMA_VERSION


async def test_what_a_newer_one_wrote_is_refused_and_left_as_it_is(redis: Redis, store: Store):
    await redis.set(names.SCHEMA_KEY, "999")
    with pytest.raises(Conflict, match=r"schema 999.*a newer one wrote them"):
        await store.check_schema()
    assert await redis.keys() == [names.SCHEMA_KEY]


async def test_the_program_says_so_in_one_line(redis: Redis, own_redis_url: str, tmp_path: Path):
    await redis.set(names.SCHEMA_KEY, "999")
    environment = {
        **os.environ,
        "STILLHOUSE_REDIS_URL": own_redis_url,
        "STILLHOUSE_STORAGE": str(tmp_path),
        "STILLHOUSE_RAY_DASHBOARD": "http://127.0.0.1:9",
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.control_plane", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await program.communicate()
    assert program.returncode == 2
    (line,) = said.decode().strip().splitlines()
    assert "schema 999" in line
    assert "docs/operations.md" in line


async def test_an_older_one_is_brought_forward(redis: Redis, jobs: list[str]):
    migration = IntoTeams()
    await to_two(redis, migration)
    assert await redis.get(names.SCHEMA_KEY) == "2"
    assert await redis.hgetall(TEAMS_KEY) == dict.fromkeys(jobs, "1")
    assert migration.batches == 5
    assert not await redis.exists(names.MIGRATION_KEY, names.MIGRATING_KEY)


@pytest.mark.parametrize("cut_after", range(5))
async def test_after_a_crash_the_next_start_goes_on_where_it_broke_off(redis: Redis, jobs: list[str], cut_after: int):
    with pytest.raises(PowerCut):
        await to_two(redis, IntoTeams(cut_after=cut_after))
    assert await redis.get(names.SCHEMA_KEY) == "1"
    rest = IntoTeams()
    await to_two(redis, rest)
    assert rest.batches == 5 - cut_after
    assert await redis.hgetall(TEAMS_KEY) == dict.fromkeys(jobs, "1")


async def test_of_several_that_start_at_once_one_does_it(redis: Redis, jobs: list[str]):
    migrations = [IntoTeams() for _ in range(4)]
    await asyncio.gather(*(to_two(redis, one) for one in migrations))
    assert sorted(one.batches for one in migrations) == [0, 0, 0, 5]
    assert await redis.hgetall(TEAMS_KEY) == dict.fromkeys(jobs, "1")


async def test_one_that_slept_past_its_lease_changes_nothing_any_more(redis: Redis, jobs: list[str]):
    await redis.set(names.MIGRATING_KEY, "another")
    late = Work(redis, "late", end="2", came_to="")
    with pytest.raises(LeaseLost):
        await IntoTeams()(late)
    assert not await redis.exists(TEAMS_KEY, names.MIGRATION_KEY)
    await redis.delete(names.MIGRATING_KEY)


async def test_a_batch_begins_again_where_what_it_read_has_changed(redis: Redis, jobs: list[str]):
    await redis.set(names.MIGRATING_KEY, "ours")
    seen: list[str] = []

    async def double(pipe: Any) -> None:
        value = await pipe.hget(TEAMS_KEY, "n") or "1"
        if not seen:
            await redis.hset(TEAMS_KEY, "n", "20")  # somebody writes between our look and our change
        seen.append(value)
        pipe.multi()
        pipe.hset(TEAMS_KEY, "n", int(value) * 2)

    await Work(redis, "ours", end="2", came_to="").batch("all", double, keys=[TEAMS_KEY])
    assert (seen, await redis.hget(TEAMS_KEY, "n")) == (["1", "20"], "40")
    await redis.delete(names.MIGRATING_KEY)


def test_the_way_leads_over_every_version_in_between():
    steps = [Migration(str(number), str(number + 1), IntoTeams()) for number in range(1, 5)]
    assert [step.end for step in steps_between("2", "5", steps)] == ["3", "4", "5"]
    assert steps_between("5", "5", steps) == []


@pytest.mark.parametrize(
    ("found", "why"), [("6", "a newer one"), ("", "a newer one"), ("0", "nothing leads from there")]
)
def test_where_there_is_no_way_nothing_starts(found: str, why: str):
    with pytest.raises(Conflict, match=why):
        steps_between(found, "5", [Migration("4", "5", IntoTeams())])


def test_every_shipped_version_leads_to_the_newest():
    for step in MIGRATIONS:
        assert steps_between(step.start, SCHEMA_VERSION, MIGRATIONS)[0] is step


async def test_a_restore_that_was_not_finished_is_no_state_to_start_from(redis: Redis, store: Store):
    await redis.set(names.RESTORING_KEY, "sha256:abc")
    with pytest.raises(Conflict, match="begun and not finished"):
        await store.check_schema()
    assert await redis.get(names.SCHEMA_KEY) is None
