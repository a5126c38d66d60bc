"""Old workers beside a new control plane, and new ones beside an old: what is not known is passed over, never guessed."""

import json
from typing import Any

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import AttemptClaimed, CancelAsked, EpochEnded
from distill.contracts.records import JobState, Wish
from distill.journal import watch
from distill.journal.client import open_redis
from services.control_plane.store import Store
from tests.faults.redis_to_break import RedisToBreak, until
from tests.services.control_plane.records import NOON, a_queued_job, said

JOB = "digits-abc234"


async def a_starting_job(store: Store) -> None:
    await store.create_jobs([a_queued_job(JOB)])
    await store.append("job", JOB, AttemptClaimed(attempt=1, at=NOON))


async def change(redis: Redis, key: str, **more: Any) -> None:
    """As a newer version would have written it."""
    await redis.set(key, json.dumps(json.loads(await redis.get(key)) | more))


async def test_a_newer_workers_fact_with_more_fields_is_applied(store: Store, redis: Redis):
    await a_starting_job(store)
    fact = said(EpochEnded(attempt=1, epoch=1, metrics={}, at=now()), 1).model_dump(mode="json")
    await redis.xadd(names.inbox_key("job", JOB), {"fact": json.dumps(fact | {"energy_j": 12.5})})
    assert await store.apply_pending("job", JOB) == 1
    assert len((await store.job(JOB)).epochs) == 1


async def test_a_newer_workers_kind_of_fact_is_passed_over_and_the_next_one_applied(store: Store, redis: Redis):
    await a_starting_job(store)
    inbox = names.inbox_key("job", JOB)
    await redis.xadd(inbox, {"fact": json.dumps({"kind": "energy_measured", "attempt": 1, "joules": 12.5})})
    known = said(EpochEnded(attempt=1, epoch=1, metrics={}, at=now()), 2)
    await redis.xadd(inbox, {"fact": known.model_dump_json()})
    assert await store.apply_pending("job", JOB) == 1
    assert len((await store.job(JOB)).epochs) == 1
    assert await redis.xlen(inbox) == 0


async def test_a_record_of_a_newer_control_plane_is_read_and_kept_working(store: Store, redis: Redis):
    await a_starting_job(store)
    await change(redis, names.record_key("job", JOB), carbon_g=3)
    await store.append("job", JOB, CancelAsked(at=NOON))
    assert (await store.job(JOB)).state is JobState.CANCELLING


async def test_a_worker_obeys_a_newer_control_planes_directive(store: Store, redis: Redis, server: RedisToBreak):
    await a_starting_job(store)
    await change(redis, names.directive_key(JOB), wish="cancel", deadline="2027-01-01")
    with open_redis(server.url) as its_redis:
        assert watch.read_record(its_redis, JOB).attempt == 1
        with watch.DirectiveWatch(its_redis, JOB, attempt=1, keep_lease=True) as directive:
            assert directive.wish is Wish.CANCEL


async def test_a_wish_that_a_worker_does_not_know_neither_stops_it_nor_costs_its_lease(
    store: Store, redis: Redis, server: RedisToBreak, monkeypatch: Any
):
    monkeypatch.setattr(watch, "POLL_S", 0.02)
    await a_starting_job(store)
    await change(redis, names.directive_key(JOB), wish="migrate")
    with (
        open_redis(server.url) as its_redis,
        watch.DirectiveWatch(its_redis, JOB, attempt=1, keep_lease=True) as directive,
    ):
        assert directive.wish is Wish.RUN
        assert await redis.get(names.lease_key(JOB)) == "1"
        await change(redis, names.directive_key(JOB), wish="pause")

        async def heard() -> bool:
            return directive.wish is Wish.PAUSE

        await until(heard)
