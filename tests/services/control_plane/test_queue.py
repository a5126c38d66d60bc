"""The queue on a real Redis: who is claimed, who is told what, and how often."""

from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import AttemptEnded, PauseAsked, PrioritySet, ResumeAsked
from distill.contracts.records import JobRecord, JobState, Outcome, Reason
from distill.contracts.teams import TeamSpec
from services.control_plane.queue import FRONT, MOST_A_ROUND, SAY_AGAIN_S, is_news
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.reconciler import Reconciler
from services.control_plane.reservations import Reservations
from services.control_plane.scheduling.jobs import Wait
from services.control_plane.scheduling.words import Lacks
from services.control_plane.store import Store
from services.control_plane.teams import Teams
from tests.services.control_plane.fakes import DOOR, FakeRay
from tests.services.control_plane.records import NOON, WISE, a_queued_job, a_taught_job, a_teacher, at, said


@pytest.fixture
def teams(redis: Redis) -> Teams:
    """What is granted, in that Redis."""
    return Teams(redis)


def of_team(team: str, identity: str, *, s: float = 0, **changes: Any) -> JobRecord:
    """A queued job of that team, of half a CPU where nothing else is said."""
    return a_queued_job(identity, **changes).model_copy(
        update={"team": team, "created_at": now() + timedelta(seconds=s)}
    )


async def reasons(store: Store, *identities: str) -> list[str]:
    return [(await store.job(identity)).reason.text for identity in identities]


async def test_teams_share_the_cluster_whoever_came_first(store: Store, reconciler: Reconciler, ray: FakeRay):
    await store.create_jobs([of_team("many", f"many-{n}", s=n - 99) for n in range(6)])
    await store.create_jobs([of_team("few", f"few-{n}") for n in range(2)])
    await reconciler.round()
    assert set(ray.jobs) == {"many-0-1", "few-0-1", "many-1-1", "few-1-1"}
    assert await reasons(store, "many-2", "many-3") == [
        "1st of 4 in the queue; waiting for 0.5 CPUs (0 free)",
        "2nd of 4 in the queue; waiting for 0.5 CPUs (0 free)",
    ]


async def test_a_weight_counts_in_the_queue_and_in_every_replica(
    store: Store, redis: Redis, reconciler: Reconciler, ray: FakeRay, teams: Teams
):
    await teams.grant("heavy", TeamSpec(weight=3))
    assert await redis.hgetall(names.TEAM_WEIGHTS_KEY) == {"heavy": "3.0"}
    await store.create_jobs([of_team(team, f"{team}-{n}") for n in range(4) for team in ("light", "heavy")])
    await reconciler.round()
    assert sorted(ray.jobs) == ["heavy-0-1", "heavy-1-1", "heavy-2-1", "light-0-1"]


async def test_a_quota_is_named_and_ends_when_the_operator_grants_more(
    store: Store, reconciler: Reconciler, teams: Teams
):
    await teams.grant("default", TeamSpec(max_jobs=1))
    await store.create_jobs([a_queued_job("one-abc234"), a_queued_job("two-abc234")])
    await reconciler.round()
    waiting = await store.job("two-abc234")
    assert (waiting.reason.code, waiting.reason.text) == (
        "waiting_for_quota",
        "waiting for its team's quota of 1 job at a time (1 in use, it needs 1)",
    )
    await teams.grant("default", TeamSpec(max_jobs=2))
    await reconciler.round()
    assert (await store.job("two-abc234")).state is JobState.STARTING


async def test_used_up_rows_of_the_month_are_read_where_replicas_count_them(
    store: Store, redis: Redis, reconciler: Reconciler, teams: Teams
):
    await store.create_teacher(a_teacher())
    await teams.grant("default", TeamSpec(max_teacher_rows_per_month=1000))
    await redis.hset(names.usage_key("default", f"{now():%Y-%m}"), mapping={"wise@1|rows_computed": "1000"})
    await store.create_jobs([a_taught_job("taught-abc234"), a_queued_job("alone-abc234")])
    await reconciler.round()
    assert (await store.job("alone-abc234")).state is JobState.STARTING
    assert "1,000 teacher rows a month (1,000 used)" in (await store.job("taught-abc234")).reason.text


async def test_a_job_that_comes_back_after_a_day_has_waited_since_it_came_back(
    store: Store, reconciler: Reconciler, ray: FakeRay
):
    """It needs the whole cluster, of which a small job has half: nothing is kept for it yet."""
    large = of_team("default", "large", s=-86_400, compute={"workers": 4, "cpus_per_worker": 0.5})
    await store.create_jobs([of_team("default", "first", s=-90_000), large])
    for fact in (PauseAsked(at=now()), ResumeAsked(at=now())):
        await store.append("job", "large", fact)
    await reconciler.round()
    await store.create_jobs([of_team("default", "small")])
    await reconciler.round()
    assert set(ray.jobs) == {"first-1", "small-1"}


async def test_a_new_priority_changes_who_is_next(store: Store, reconciler: Reconciler, ray: FakeRay):
    ray.total = ClusterResources(cpus=0.5)
    await store.create_jobs([of_team("a", "first"), of_team("a", "second", s=1), of_team("a", "third", s=2)])
    await store.append("job", "third", PrioritySet(priority=5, at=now()))
    await store.append("job", "first", PrioritySet(priority=-5, at=now()))
    await reconciler.round()
    assert set(ray.jobs) == {"third-1"}
    assert await reasons(store, "second", "first") == [
        "1st of 2 in the queue; waiting for 0.5 CPUs (0 free)",
        "2nd of 2 in the queue; waiting for 0.5 CPUs (0 free)",
    ]


async def test_what_a_reservation_holds_is_waited_for_by_nobody(
    store: Store, redis: Redis, reconciler: Reconciler, ray: FakeRay
):
    await store.create_teacher(a_teacher())
    await Reservations(redis, door=DOOR).create(WISE, team="default", rows_per_s=10)
    await store.create_jobs([a_queued_job("wide-abc234", compute={"cpus_per_worker": 1.5})])
    await reconciler.round()
    assert await reasons(store, "wide-abc234") == ["needs 1.5 CPUs, and the cluster has 1 for it at most"]


async def test_while_ray_does_not_know_its_nodes_nothing_starts_and_the_record_says_so(
    store: Store, reconciler: Reconciler, ray: FakeRay
):
    ray.total = ClusterResources()
    await store.create_jobs([a_queued_job("digits-abc234")])
    await reconciler.round()
    job = await store.job("digits-abc234")
    assert (ray.jobs, job.state) == ({}, JobState.QUEUED)
    assert (job.reason.code, job.reason.text) == ("waiting_for_cluster", "waiting for Ray to answer")


async def test_accounts_are_kept_while_teams_wait_and_forgotten_after(
    store: Store, reconciler: Reconciler, ray: FakeRay, teams: Teams
):
    ray.total = ClusterResources(cpus=0.5)
    await store.create_jobs([of_team("a", "as-job"), of_team("b", "bs-job", s=1)])
    await reconciler.round()
    kept = await teams.accounts()
    assert kept is not None
    assert (kept.ahead_s, kept.pace) == ({"a": 0.0, "b": 0.0}, {"a": 1.0})
    await reconciler.round()
    later = await teams.accounts()
    assert later is not None
    assert later.ahead_s["a"] == pytest.approx((later.at - kept.at).total_seconds())
    await store.append("job", "as-job", said(AttemptEnded(attempt=1, outcome=Outcome.FINISHED, at=now()), 1))
    await reconciler.round()
    await reconciler.round()
    assert (await store.job("bs-job")).state is JobState.STARTING
    assert await teams.accounts() is None


async def test_while_nothing_changes_nobody_is_told_anything(store: Store, redis: Redis, reconciler: Reconciler):
    await store.create_jobs([of_team("a", f"job-{n}", s=n) for n in range(10)])
    await reconciler.round()
    told = [await redis.xlen(names.events_key("job", f"job-{n}")) for n in range(10)]
    for _ in range(3):
        await reconciler.round()
    assert [await redis.xlen(names.events_key("job", f"job-{n}")) for n in range(10)] == told


async def test_one_round_tells_so_many_and_the_next_goes_on(store: Store, reconciler: Reconciler, ray: FakeRay):
    ray.total = ClusterResources(cpus=0.5)
    await store.create_jobs([of_team("a", f"job-{n}", s=n) for n in range(MOST_A_ROUND + 5)])
    await reconciler.round()
    first = await reasons(store, *(f"job-{n}" for n in range(1, MOST_A_ROUND + 5)))
    assert sum("in the queue" in text for text in first) == MOST_A_ROUND
    await reconciler.round()
    [last] = await reasons(store, f"job-{MOST_A_ROUND + 4}")
    assert last.startswith(f"{MOST_A_ROUND + 4}th of {MOST_A_ROUND + 4} in the queue; ")


def test_a_new_place_is_news_at_the_front_at_once_and_elsewhere_after_a_while():
    told = Reason(code="waiting_for_resources", text="9th of 9 in the queue; waiting for 1 CPUs (0 free)")
    job = a_queued_job().model_copy(update={"reason": told, "updated_at": NOON})
    lacks = Lacks("cpus", 1, 0)
    assert is_news(job, Wait(lacks, FRONT, 9), at(1))
    assert not is_news(job, Wait(lacks, FRONT + 1, 9), at(SAY_AGAIN_S - 1))
    assert is_news(job, Wait(lacks, FRONT + 1, 9), at(SAY_AGAIN_S))
    assert not is_news(job, Wait(lacks, 9, 9), at(3600))


def test_another_kind_of_reason_is_news_at_once():
    job = a_queued_job().model_copy(update={"updated_at": NOON})
    assert is_news(job, Wait(Lacks("cpus", 1, 0), 99, 99), at(0))
