"""Every key of Redis is permanent by list or ends by itself: through a job's whole life, written by the real writers."""

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import AttemptClaimed, AttemptEnded, PhaseReached
from distill.contracts.pool import ReplicaLoad, TeacherUsage
from distill.contracts.records import JobState, Outcome, Phase, Progress
from distill.journal.client import open_redis
from distill.journal.journal import Journal
from distill.journal.pool import add_usage, write_load
from distill.journal.watch import DirectiveWatch
from services.control_plane.store import Store
from tests.keys import for_ever_async
from tests.services.control_plane.records import TAUGHT, a_teacher

FIGURES = Progress(attempt=1, phase="training", step=1, num_steps=2, epoch=0, num_epochs=1, at=now())


async def test_a_jobs_whole_life_leaves_nothing_that_is_not_on_the_list(
    api: httpx.AsyncClient, redis: Redis, store: Store, own_redis_url: str
):
    await store.create_teacher(a_teacher())
    study = (await api.post("/v1/studies", json={"name": "s", "job": TAUGHT})).json()
    job = study["study"]["jobs"]["student"]
    assert (await api.post("/v1/reservations", json={"teacher": "wise@1", "rows_per_s": 5})).status_code == 201
    await store.append("job", job, AttemptClaimed(attempt=1, at=now()))
    with open_redis(own_redis_url) as worker:
        with (
            DirectiveWatch(worker, job, attempt=1, keep_lease=True),
            Journal(worker, job, attempt=1, writer="rank-0") as journal,
        ):
            journal.append(PhaseReached(attempt=1, phase=Phase.WORKERS_READY, at=now()))
            journal.progress(FIGURES)
            assert journal.flush(20)
            assert await redis.pttl(names.lease_key(job)) > 0
            journal.append(AttemptEnded(attempt=1, outcome=Outcome.FINISHED, at=now()))
        add_usage(
            worker, {("default", "2026-11"): TeacherUsage(teacher="wise@1", rows_computed=3)}, writer="r", number=1
        )
        load = ReplicaLoad(replica="r", queued_rows=0, rows_per_s=0, busy=0, at=now())
        write_load(worker, "teacher-wise-1", load)
    await store.apply_pending("job", job)
    assert (await store.job(job)).state is JobState.SUCCEEDED
    there = {str(key) async for key in redis.scan_iter()}
    assert {names.progress_key(job), names.usage_key("default", "2026-11"), names.load_key("teacher-wise-1")} <= there
    assert await for_ever_async(redis) == []


async def test_a_key_that_nobody_put_on_the_list_is_found(redis: Redis):
    await redis.set("stillhouse:job:a:forgotten", 1)
    await redis.set("stillhouse:job:b:forgotten", 1, ex=60)
    await redis.set(names.record_key("job", "a"), "{}")
    assert await for_ever_async(redis) == ["stillhouse:job:a:forgotten"]
    await redis.delete("stillhouse:job:a:forgotten")


@pytest.mark.parametrize("form", names.PERMANENT)
def test_a_form_names_its_keys_and_no_longer_ones(form: str):
    key = form.replace("**", "a:b").replace("*", "some-thing")
    assert names.is_permanent(key)
    assert "**" in form or not names.is_permanent(f"{key}:more:parts:than:any")
