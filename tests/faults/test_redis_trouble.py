"""Redis is restarted, killed, read-only, full, loading, slow or gone: what it confirmed is there, and nothing is half done."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import DependencyDown, Problem
from distill.contracts.facts import AttemptClaimed, AttemptLost, CancelAsked, EpochEnded, PhaseReached
from distill.contracts.keys import new_key, new_key_id
from distill.contracts.records import JobState, Phase, Wish
from distill.journal.client import open_redis
from distill.journal.journal import Journal
from distill.journal.keys import KnownKeys
from distill.journal.watch import DirectiveWatch
from services.control_plane.store import Store
from tests.faults.redis_to_break import DeafAfterAsking, RedisToBreak, until
from tests.services.control_plane.fakes import FakeRay, a_reconciler
from tests.services.control_plane.records import JOB as SPEC
from tests.services.control_plane.records import NOON, a_queued_job, said

JOB, FIRST = "digits-abc234", "digits-abc234-1"

Break = Callable[[Redis], Awaitable[object]]


async def submitted(api: httpx.AsyncClient) -> str:
    answer = await api.post("/v1/jobs", json=SPEC)
    assert answer.status_code == 202, answer.text
    identity: str = answer.json()["id"]
    return identity


async def refused(api: httpx.AsyncClient) -> str:
    """Nothing that writes is done; returns why, in the answer's words."""
    answer = await api.post("/v1/jobs", json=SPEC)
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency_down"), answer.text
    assert int(answer.headers["Retry-After"]) > 0
    text: str = answer.json()["detail"]
    return text


async def why_not_ready(api: httpx.AsyncClient) -> str:
    answer = await api.get("/readyz")
    assert answer.status_code == 503
    word: str = answer.json()["dependencies"]["redis"]
    return word


async def everything(redis: Redis) -> dict[str, bytes]:
    """All that is kept, but for what expires and what wakes."""
    keys = [key for key in await redis.keys("*") if await redis.ttl(key) < 0]
    return {key: await redis.dump(key) for key in sorted(keys)}


async def read_only(redis: Redis) -> None:
    await redis.replicaof("127.0.0.1", "1")


async def writable(redis: Redis) -> None:
    await redis.replicaof("NO", "ONE")


REFUSALS: list[tuple[str, Break, Break, str]] = [
    ("read-only", read_only, writable, "is read-only"),
    (
        "too few replicas",
        lambda redis: redis.config_set("min-replicas-to-write", 1),
        lambda redis: redis.config_set("min-replicas-to-write", 0),
        "min-replicas-to-write",
    ),
    (
        "out of memory",
        lambda redis: redis.config_set("maxmemory", 1),
        lambda redis: redis.config_set("maxmemory", 0),
        "is out of memory",
    ),
]


@pytest.mark.parametrize(("breaks", "mends", "words"), [one[1:] for one in REFUSALS], ids=[one[0] for one in REFUSALS])
async def test_a_redis_that_takes_no_writes_is_answered_with_503_and_nothing_is_half_done(
    api: httpx.AsyncClient, server: RedisToBreak, breaks: Break, mends: Break, words: str
):
    async with Redis.from_url(server.url) as redis:
        job = await submitted(api)
        await breaks(redis)
        before = await everything(redis)
        assert words in await refused(api)
        assert words in await why_not_ready(api)
        assert (await api.post(f"/v1/jobs/{job}/cancel")).status_code == 503
        assert (await api.get(f"/v1/jobs/{job}")).status_code == 200, "what is kept can be read"
        assert await everything(redis) == before
        await mends(redis)
        await submitted(api)
        assert (await api.get(f"/v1/jobs/{job}")).json()["state"] == "QUEUED"


async def test_a_worker_hears_of_its_cancellation_though_redis_takes_no_writes(
    store: Store, redis: Redis, server: RedisToBreak
):
    await store.create_jobs([a_queued_job(JOB)])
    await store.append("job", JOB, AttemptClaimed(attempt=1, at=NOON))
    await store.append("job", JOB, CancelAsked(at=NOON))
    await redis.config_set("maxmemory", 1)
    with open_redis(server.url) as its_redis, DirectiveWatch(its_redis, JOB, attempt=1, keep_lease=True) as watch:
        assert watch.wish is Wish.CANCEL


async def test_what_a_full_redis_refused_of_a_worker_is_said_again_when_there_is_room(
    store: Store, redis: Redis, server: RedisToBreak
):
    await store.create_jobs([a_queued_job(JOB)])
    await store.append("job", JOB, AttemptClaimed(attempt=1, at=NOON))
    await redis.config_set("maxmemory", 1)
    with open_redis(server.url) as its_redis, Journal(its_redis, JOB, attempt=1, writer="rank-0") as journal:
        for epoch in (1, 2, 3):
            journal.append(EpochEnded(attempt=1, epoch=epoch, metrics={}, at=now()))
        assert not journal.flush(0.3)
        await redis.config_set("maxmemory", 0)
        assert journal.flush(10)
    assert await store.apply_pending("job", JOB) == 3
    assert [epoch["epoch"] for epoch in (await store.job(JOB)).epochs] == [1, 2, 3]


async def test_a_slow_redis_is_told_as_slow(api: httpx.AsyncClient, server: RedisToBreak):
    async with Redis.from_url(server.url) as redis:
        job = await submitted(api)
        await redis.client_pause(2500)
        assert "is slow" in await refused(api)
        assert "is slow" in await why_not_ready(api)
        await redis.ping()
    assert (await api.get(f"/v1/jobs/{job}")).status_code == 200


async def test_a_redis_that_is_gone_is_answered_with_503_until_it_is_back(api: httpx.AsyncClient, server: RedisToBreak):
    job = await submitted(api)
    server.kill()
    await refused(api)
    assert "doesn't answer" in await why_not_ready(api)
    server.start()
    assert (await api.get(f"/v1/jobs/{job}")).json()["id"] == job
    await submitted(api)


async def test_a_redis_that_still_loads_is_told_so(api: httpx.AsyncClient, server: RedisToBreak):
    async with Redis.from_url(server.url) as redis, redis.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"ballast:{number}", number, ex=600)
        await pipe.execute()
        await redis.bgrewriteaof()
        await until(lambda: is_rewritten(redis))
    await asyncio.to_thread(server.kill)
    slowly = ["--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024"]
    command = [str(server.binary), str(server.home.redis / "redis.conf"), *slowly]
    loading = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        await until(lambda: loads(server.url))
        assert "is still loading" in await why_not_ready(api)
        await until(lambda: is_refused_as_loading(api))
        await until(lambda: is_ready(api))
        await submitted(api)
    finally:
        loading.kill()
        await loading.wait()


async def test_whoever_can_not_be_checked_is_told_why_and_not_where(server: RedisToBreak):
    async with Redis.from_url(server.url, socket_timeout=0.2) as redis:
        keys, key = KnownKeys(redis), new_key(new_key_id())
        await redis.client_pause(20_000, all=True)
        for ends, why in ((lambda: None, "is slow"), (server.kill, "doesn't answer")):
            ends()
            with pytest.raises(DependencyDown) as down:
                await keys.check(key)
            assert down.value.message == f"Redis {why}, so API keys can't be checked: ask again later"


@pytest.mark.parametrize("ends", [RedisToBreak.stop, RedisToBreak.kill], ids=["restarted", "killed"])
async def test_what_redis_confirmed_is_there_when_it_comes_back(
    store: Store, redis: Redis, server: RedisToBreak, tmp_path: Path, ends: Callable[[RedisToBreak], None]
):
    ray = FakeRay()
    await store.create_jobs([a_queued_job(JOB)])
    await a_reconciler(redis, ray, tmp_path).round()
    before = await store.job(JOB)
    events = await redis.xrange(names.events_key("job", JOB))
    await asyncio.to_thread(ends, server)
    await asyncio.to_thread(server.start)
    await until(lambda: answers(redis))
    assert await store.job(JOB) == before
    assert await redis.xrange(names.events_key("job", JOB)) == events
    await redis.delete(names.RECONCILER_KEY)
    await a_reconciler(redis, ray, tmp_path).round()
    assert set(ray.jobs) == {FIRST}
    assert await store.job(JOB) == before


async def test_a_change_whose_confirmation_was_lost_is_made_once(store: Store, server: RedisToBreak, redis: Redis):
    await store.create_jobs([a_queued_job(JOB)])
    proxy = DeafAfterAsking()
    async with proxy.before(server.url) as url, Redis.from_url(url, decode_responses=True) as deaf:
        behind = Store(deaf)
        await behind.job(JOB)
        proxy.swallows = b"XADD"
        with pytest.raises(RedisError):
            await behind.append("job", JOB, CancelAsked(at=NOON))
        proxy.swallows = None
        await behind.append("job", JOB, CancelAsked(at=NOON))  # whoever asked, asks again
    job = await store.job(JOB)
    assert (job.state, job.revision) == (JobState.CANCELLED, 1)
    assert await redis.xlen(names.inbox_key("job", JOB)) == 0


async def test_an_applied_fact_whose_confirmation_was_lost_is_applied_and_published_once(
    store: Store, server: RedisToBreak, redis: Redis
):
    await store.create_jobs([a_queued_job(JOB), a_queued_job("other-abc234")])
    await store.append("job", "other-abc234", CancelAsked(at=NOON))  # now Redis knows the script
    fact = AttemptClaimed(attempt=1, at=NOON)
    await redis.xadd(names.inbox_key("job", JOB), {"fact": fact.model_dump_json()})
    proxy = DeafAfterAsking()
    async with proxy.before(server.url) as url, Redis.from_url(url, decode_responses=True) as deaf:
        behind = Store(deaf)
        [entry] = await deaf.xrange(names.inbox_key("job", JOB))
        record = await behind.job(JOB)
        proxy.swallows = b"EVALSHA"
        with pytest.raises(RedisError):
            await behind._apply_entry("job", record, *entry)
        proxy.swallows = None
        assert await behind._apply_entry("job", record, *entry) == 0, "it was in already"
    job = await store.job(JOB)
    assert (job.state, job.attempt, job.revision) == (JobState.STARTING, 1, 1)
    assert await redis.xlen(names.events_key("job", JOB)) == 2


async def test_a_workers_fact_whose_confirmation_was_lost_is_sent_again_and_applied_once(
    store: Store, server: RedisToBreak, redis: Redis
):
    await store.create_jobs([a_queued_job(JOB)])
    await store.append("job", JOB, AttemptClaimed(attempt=1, at=NOON))
    proxy = DeafAfterAsking()
    inbox = names.inbox_key("job", JOB)

    async def arrived_twice() -> bool:
        return int(await redis.xlen(inbox)) >= 2

    async with proxy.before(server.url) as url:
        proxy.swallows = b"XADD"
        journal = await asyncio.to_thread(Journal, open_redis(url), JOB, attempt=1, writer="rank-0")
        journal.append(EpochEnded(attempt=1, epoch=1, metrics={}, at=now()))
        await until(arrived_twice)
        proxy.swallows = None
        await asyncio.to_thread(journal.close)
    assert await store.apply_pending("job", JOB) == 1
    assert [epoch["epoch"] for epoch in (await store.job(JOB)).epochs] == [1]
    assert await redis.xlen(names.events_key("job", JOB)) == 3


async def test_scripts_that_redis_forgot_are_given_to_it_again(
    store: Store, redis: Redis, server: RedisToBreak, tmp_path: Path
):
    reconciler = a_reconciler(redis, FakeRay(), tmp_path)
    await store.create_jobs([a_queued_job(JOB)])
    await redis.script_flush()
    await reconciler.round()
    await redis.script_flush()
    await store.create_jobs([a_queued_job("next-abc234")])
    await redis.script_flush()
    await reconciler.round()
    assert {(await store.job(job)).state for job in (JOB, "next-abc234")} == {JobState.STARTING}


@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "ahead"])
async def test_a_clock_that_steps_leaves_no_job_behind_and_starts_none_twice(
    store: Store, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
):
    ray = FakeRay()
    reconciler = a_reconciler(redis, ray, tmp_path)
    await store.create_jobs([a_queued_job(JOB)])
    await reconciler.round()
    lost = Problem(code="attempt_lost", message="gone")
    await store.append("job", JOB, AttemptLost(attempt=1, problem=lost, at=now()))
    for module in ("attempts", "queue", "reconciler", "pool"):
        monkeypatch.setattr(f"services.control_plane.{module}.now", lambda: now() + timedelta(hours=hours))
    await reconciler.round()
    await reconciler.round()
    assert set(ray.jobs) == {FIRST, "digits-abc234-2"}
    await store.append("job", JOB, said(PhaseReached(attempt=2, phase=Phase.WORKERS_READY, at=now()), 1))
    assert (await store.job(JOB)).state is JobState.RUNNING


async def is_rewritten(redis: Redis) -> bool:
    found = await redis.info("persistence")
    return not (found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])


async def is_refused_as_loading(api: httpx.AsyncClient) -> bool:
    """Each connection that is left of the Redis before breaks once, and then it is told what is the matter."""
    return "is still loading" in await refused(api)


async def answers(redis: Redis) -> bool:
    try:
        return bool(await redis.get(names.record_key("job", JOB)))
    except RedisError:
        return False


async def loads(url: str) -> bool:
    """Whether somebody answers there, and says that it loads."""
    try:
        async with Redis.from_url(url) as redis:
            await redis.get("anything")
    except BusyLoadingError:
        return True
    except RedisError:
        return False
    raise AssertionError("it had loaded everything before anybody looked")


async def is_ready(api: httpx.AsyncClient) -> bool:
    word: str = (await api.get("/readyz")).json()["dependencies"]["redis"]
    return word == "ok"
