"""Ray's dashboard refuses, hangs, fails, trickles, breaks off, or is wrong: nothing starts twice, and nothing ends for it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import DependencyDown
from distill.contracts.facts import CancelAsked, PhaseReached
from distill.contracts.records import JobRecord, JobState, Phase
from services.control_plane.liveness import GRACE_S
from services.control_plane.ray_rest import RayRest
from services.control_plane.reconciler import Reconciler
from services.control_plane.store import Store
from services.stack.processes import free_ports
from tests.faults.ray_server import Manner, RayServer
from tests.services.control_plane.fakes import a_reconciler
from tests.services.control_plane.records import NOON, a_queued_job, said

JOB, FIRST = "digits-abc234", "digits-abc234-1"
NO_ANSWER: list[Manner] = ["hangs", "500", "trickles", "cuts the body", "cuts the JSON", "says something else"]

Within = Callable[[], AbstractContextManager[object]]


@pytest.fixture
async def dashboard() -> AsyncIterator[RayServer]:
    async with RayServer().running() as server:
        yield server


@pytest.fixture
async def ray(dashboard: RayServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RayRest]:
    """Our client of it."""
    monkeypatch.setattr("services.control_plane.reconciler.RESOURCES_AGE_S", 0.0)
    client = RayRest(dashboard.url, None)
    yield client
    await client.close()


@pytest.fixture
def reconciler(redis: Redis, ray: RayRest, tmp_path: Path) -> Reconciler:
    return a_reconciler(redis, ray, tmp_path)


@pytest.fixture
def without_patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[object]]:
    """Within this our client waits for a moment only."""

    @contextmanager
    def within() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr("services.control_plane.ray_rest.TIMEOUT_S", 0.2)
            yield

    return within


async def a_running_job(store: Store, reconciler: Reconciler, redis: Redis) -> JobRecord:
    """Its first attempt has its workers, and its heart beats."""
    await store.create_jobs([a_queued_job(JOB)])
    await reconciler.round()
    await store.append("job", JOB, said(PhaseReached(attempt=1, phase=Phase.WORKERS_READY, at=now()), 1))
    await redis.set(names.lease_key(JOB), 1)
    job = await store.job(JOB)
    assert job.state is JobState.RUNNING
    return job


@pytest.mark.parametrize("manner", NO_ANSWER)
async def test_while_ray_gives_no_answer_a_queued_job_waits_and_says_so(
    store: Store, reconciler: Reconciler, dashboard: RayServer, manner: Manner, without_patience: Within
):
    await store.create_jobs([a_queued_job(JOB)])
    dashboard.manner = manner
    with without_patience():
        await reconciler.round()
    job = await store.job(JOB)
    assert (job.state, job.reason.code, job.attempt) == (JobState.QUEUED, "waiting_for_cluster", 0)
    dashboard.manner = "well"
    await reconciler.round()
    assert dashboard.started == [FIRST]


@pytest.mark.parametrize("manner", NO_ANSWER)
async def test_while_ray_gives_no_answer_a_running_attempt_is_not_given_up(
    store: Store,
    reconciler: Reconciler,
    redis: Redis,
    dashboard: RayServer,
    manner: Manner,
    without_patience: Within,
):
    before = await a_running_job(store, reconciler, redis)
    await redis.delete(names.lease_key(JOB))  # even if its heart can't be heard either
    dashboard.manner = manner
    with without_patience():
        await reconciler.round()
    assert await store.job(JOB) == before
    assert (dashboard.started, dashboard.stopped) == ([FIRST], [])


async def test_a_ray_that_refuses_connections_starts_nothing_and_ends_nothing(
    store: Store, redis: Redis, tmp_path: Path, reconciler: Reconciler
):
    before = await a_running_job(store, reconciler, redis)
    await reconciler.give_up_lease()
    nobody = RayRest(f"http://127.0.0.1:{free_ports(1)[0]}", None)
    await redis.delete(names.lease_key(JOB))
    await store.create_jobs([a_queued_job("next-abc234")])
    await a_reconciler(redis, nobody, tmp_path).round()
    await nobody.close()
    assert await store.job(JOB) == before
    assert (await store.job("next-abc234")).reason.code == "waiting_for_cluster"


async def test_an_attempt_that_ray_started_without_a_word_of_it_is_not_started_again(
    store: Store, reconciler: Reconciler, dashboard: RayServer
):
    await store.create_jobs([a_queued_job(JOB)])

    def breaks() -> None:
        dashboard.manner = "breaks after doing"

    dashboard.on_submit = breaks
    await reconciler.round()
    job = await store.job(JOB)
    assert (job.state, Phase.LAUNCHED in job.attempts[0].phases) == (JobState.STARTING, False)
    assert job.reason.code == "waiting_for_cluster"
    dashboard.manner = "well"  # and now it says that there is such a job already
    await reconciler.round()
    assert Phase.LAUNCHED in (await store.job(JOB)).attempts[0].phases
    assert dashboard.started == [FIRST]


async def test_a_job_that_exists_already_is_taken_for_started(ray: RayRest, dashboard: RayServer):
    dashboard.jobs[FIRST] = "RUNNING"
    await ray.submit(FIRST, ["student_worker"], environment={})
    assert dashboard.started == []


async def test_an_attempt_that_ray_wrongly_calls_failed_goes_on_while_its_heart_beats(
    store: Store, reconciler: Reconciler, redis: Redis, dashboard: RayServer
):
    before = await a_running_job(store, reconciler, redis)
    dashboard.jobs[FIRST] = "FAILED"
    for _ in range(3):
        await reconciler.round()
    assert await store.job(JOB) == before


async def test_a_heart_that_stops_as_ray_calls_the_attempt_failed_has_time_to_beat_again(
    store: Store, reconciler: Reconciler, redis: Redis, dashboard: RayServer, monkeypatch: pytest.MonkeyPatch
):
    clock = [1000.0]
    monkeypatch.setattr("services.control_plane.liveness.time.monotonic", lambda: clock[0])
    before = await a_running_job(store, reconciler, redis)
    await reconciler.round()
    dashboard.jobs[FIRST] = "FAILED"
    await redis.delete(names.lease_key(JOB))
    clock[0] += GRACE_S - 1
    await reconciler.round()
    assert await store.job(JOB) == before
    await redis.set(names.lease_key(JOB), 1)
    clock[0] += 60
    await reconciler.round()
    assert await store.job(JOB) == before
    await redis.delete(names.lease_key(JOB))
    clock[0] += GRACE_S
    await reconciler.round()
    assert (await store.job(JOB)).reason.code == "retrying"


async def test_a_job_that_can_not_be_cancelled_while_ray_is_silent_says_what_it_waits_for(
    store: Store, reconciler: Reconciler, redis: Redis, dashboard: RayServer, without_patience: Within
):
    await a_running_job(store, reconciler, redis)
    await redis.delete(names.lease_key(JOB))
    await store.append("job", JOB, CancelAsked(at=NOON))
    dashboard.manner = "hangs"
    with without_patience():
        await reconciler.round()
    job = await store.job(JOB)
    assert (job.state, job.reason.code) == (JobState.CANCELLING, "waiting_for_cluster")
    dashboard.manner = "well"
    await reconciler.round()
    assert dashboard.stopped == [FIRST]
    dashboard.jobs[FIRST] = "STOPPED"
    await reconciler.round()
    assert (await store.job(JOB)).state is JobState.CANCELLED


async def test_an_order_to_stop_that_failed_is_given_again(
    store: Store,
    reconciler: Reconciler,
    redis: Redis,
    ray: RayRest,
    dashboard: RayServer,
    monkeypatch: pytest.MonkeyPatch,
):
    await a_running_job(store, reconciler, redis)
    await store.append("job", JOB, CancelAsked(at=NOON))

    async def fails(_: str) -> None:
        raise DependencyDown("Ray's dashboard answered 500 to POST")

    with monkeypatch.context() as once:
        once.setattr(ray, "stop", fails)
        await reconciler.round()
    assert dashboard.stopped == []
    await reconciler.round()
    assert dashboard.stopped == [FIRST]
    assert "interrupted through Ray" in (await store.job(JOB)).reason.text
    await reconciler.round()
    assert dashboard.stopped == [FIRST], "once is enough for a while"
