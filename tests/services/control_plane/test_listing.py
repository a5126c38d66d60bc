"""Lists agree with a naive search of all records, whatever the history, and pages hold still while things change."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import InvalidSpec
from distill.contracts.facts import AttemptClaimed, CancelAsked, PauseAsked, PhaseReached, ResumeAsked
from distill.contracts.records import JobRecord, JobState, Phase, StudyRecord
from distill.contracts.study import StudySpec
from services.control_plane.listing import Listing
from services.control_plane.lists import Wanted, decode_cursor, encode_cursor, place_of
from services.control_plane.store import Store
from tests.services.control_plane.records import JOB, NOON, TAUGHT, a_queued_job, a_teacher, at, said

LABELS: list[dict[str, str]] = [{}, {"owner": "ada"}, {"owner": "ada", "run": "1"}, {"owner": "grace", "run": "1"}]


@pytest.fixture
def listing(store: Store, redis: Redis) -> Listing:
    """Pages of that Redis."""
    return Listing(store, redis)


def a_job(number: int, chance: random.Random) -> JobRecord:
    """A queued job of one of two teams, made within a minute, often at the same moment as another."""
    created = at(chance.randrange(60))
    changes = {"team": chance.choice(["default", "other"]), "created_at": created, "updated_at": created}
    return a_queued_job(f"job-{number:04}", labels=chance.choice(LABELS)).model_copy(update=changes)


async def change(store: Store, job: str, chance: random.Random) -> None:
    """Something that may happen to a job."""
    fact = chance.choice([
        CancelAsked(at=NOON), PauseAsked(at=NOON), ResumeAsked(at=NOON), AttemptClaimed(attempt=1, at=NOON),
        said(PhaseReached(attempt=1, phase=Phase.WORKERS_READY, at=NOON), chance.randrange(1000)),
    ])  # fmt: skip
    await store.append("job", job, fact)


async def a_history(store: Store, chance: random.Random, *, num_jobs: int = 60) -> list[str]:
    """Jobs that were made and changed in any order."""
    made: list[str] = []
    while len(made) < num_jobs:
        if made and chance.random() < 0.6:
            await change(store, chance.choice(made), chance)
        else:
            await store.create_jobs([a_job(len(made), chance)])
            made.append(f"job-{len(made):04}")
    return made


def naive(jobs: Sequence[JobRecord], wanted: Wanted) -> list[str]:
    """The identities that a plain search finds, newest first."""
    found = [
        job
        for job in jobs
        if job.team == wanted.team
        if wanted.state is None or job.state is wanted.state
        if wanted.labels.items() <= job.spec.labels.items()
        if wanted.created_after is None or wanted.created_after <= job.created_at
        if wanted.created_before is None or job.created_at < wanted.created_before
    ]
    return [job.id for job in sorted(found, key=lambda job: (job.created_at, job.id), reverse=True)]


def some_wanted(chance: random.Random) -> Wanted:
    """Any of the filters, alone and together."""
    return Wanted(
        team=chance.choice(["default", "other", "nobody"]),
        state=chance.choice([None, *JobState]),
        labels=chance.choice([*LABELS, {"owner": "nobody"}]),
        created_after=chance.choice([None, at(chance.randrange(60))]),
        created_before=chance.choice([None, at(chance.randrange(60)), at(30.5)]),
    )


async def all_pages(listing: Listing, wanted: Wanted, *, limit: int) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        jobs, cursor = await listing.jobs(wanted, limit=limit, cursor=cursor)
        assert len(jobs) <= limit
        found += [job.id for job in jobs]
        if cursor is None:
            return found


async def test_every_filter_and_combination_finds_what_a_plain_search_finds(
    store: Store, listing: Listing, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.listing.AT_ONCE", 7)  # so that lists are looked through in many goes
    chance = random.Random(0)
    jobs = await store.jobs(await a_history(store, chance))
    assert len({job.state for job in jobs}) >= 5
    lengths = set()
    for _ in range(300):
        wanted = some_wanted(chance)
        expected = naive(jobs, wanted)
        assert await all_pages(listing, wanted, limit=chance.choice([1, 3, 10, 200])) == expected, wanted
        lengths.add(len(expected))
    assert len(lengths) > 10


async def test_pages_show_each_once_and_leave_none_out_while_jobs_are_made_and_change(store: Store, listing: Listing):
    chance = random.Random(1)
    before = await a_history(store, chance, num_jobs=80)
    of_team = [job.id for job in await store.jobs(before) if job.team == "default"]
    done = asyncio.Event()

    async def go_on() -> None:
        for number in range(80, 200):
            await store.create_jobs([a_job(number, chance)])
            await change(store, chance.choice(before), chance)
        done.set()

    going = asyncio.create_task(go_on())
    rounds = 0
    while rounds < 3 or not done.is_set():
        shown = await all_pages(listing, Wanted(team="default"), limit=7)
        assert len(shown) == len(set(shown))
        assert set(of_team) <= set(shown)
        rounds += 1
    await going


async def test_a_job_that_keeps_its_state_is_shown_once_whatever_others_do(store: Store, listing: Listing):
    chance = random.Random(2)
    await a_history(store, chance, num_jobs=60)
    queued = Wanted(team="default", state=JobState.QUEUED)
    steady = await all_pages(listing, queued, limit=200)
    first, cursor = await listing.jobs(queued, limit=3, cursor=None)
    await store.append("job", first[-1].id, CancelAsked(at=NOON))  # the cursor's own job leaves the list
    rest: list[str] = []
    while cursor is not None:
        jobs, cursor = await listing.jobs(queued, limit=3, cursor=cursor)
        rest += [job.id for job in jobs]
    assert [job.id for job in first] + rest == steady


async def lists_in(redis: Redis) -> dict[str, list[Any]]:
    keys = sorted(await redis.keys(names.list_key("job", "*")) + await redis.keys(names.list_key("study", "*")))
    return {key: await redis.zrange(key, 0, -1, withscores=True) for key in keys}


@pytest.mark.parametrize("seed", range(4))
async def test_lists_equal_those_made_anew_from_the_records(store: Store, listing: Listing, redis: Redis, seed: int):
    chance = random.Random(seed)
    await a_history(store, chance)
    study = StudyRecord(
        id="s-abc234", spec=StudySpec.model_validate({"name": "s", "job": TAUGHT | {"labels": {"owner": "ada"}}}),
        jobs={"student": "one-abc234"}, created_at=NOON, updated_at=NOON,
    )  # fmt: skip
    await store.create_jobs([a_queued_job("one-abc234").model_copy(update={"study": study.id})], study)
    kept = await lists_in(redis)
    assert len(kept) > 12
    await redis.delete(*kept)
    await redis.zadd(names.list_key("job", "default", "state:RUNNING"), {place_of(await store.job("one-abc234")): 0})
    await listing.make_lists()
    assert await lists_in(redis) == kept
    await redis.delete(*kept)
    await listing.make_lists()  # it was done, and isn't done at every start
    assert await lists_in(redis) == {}


async def test_two_control_planes_make_the_lists_at_once_while_jobs_change(store: Store, redis: Redis):
    chance = random.Random(3)
    made = await a_history(store, chance)
    before = await lists_in(redis)
    await redis.delete(*before)

    async def go_on() -> None:
        for _ in range(200):
            await change(store, chance.choice(made), chance)

    await asyncio.gather(Listing(store, redis).make_lists(), Listing(Store(redis), redis).make_lists(), go_on())
    after = await lists_in(redis)
    await redis.delete(names.LISTED_KEY, *after)
    await Listing(store, redis).make_lists()
    assert await lists_in(redis) == after


async def test_a_record_that_can_not_be_read_holds_up_no_start(store: Store, listing: Listing, redis: Redis):
    await store.create_jobs([a_queued_job("broken-abc234")])
    await store.create_jobs([a_queued_job("whole-abc234")])
    await redis.set(names.record_key("job", "broken-abc234"), "{torn")
    await redis.delete(*await lists_in(redis))
    await listing.make_lists()
    assert await all_pages(listing, Wanted(team="default"), limit=5) == ["whole-abc234"]


@pytest.mark.parametrize("cursor", ["\xff\xfe", "abc", "=", encode_cursor("yesterday"), encode_cursor("../x"), "QQ=="])
async def test_a_cursor_of_someone_elses_is_refused(listing: Listing, cursor: str):
    with pytest.raises(InvalidSpec, match="cursor"):
        await listing.jobs(Wanted(team="default"), limit=2, cursor=cursor)


def test_a_cursor_is_short_and_comes_back_as_it_was():
    place = place_of(a_queued_job("a" * 48))
    assert decode_cursor(encode_cursor(place)) == place == f"{int(NOON.timestamp()) * 10**6:016d}:" + "a" * 48
    assert len(encode_cursor(place)) < 200


async def test_over_rest_lists_are_narrowed_by_label_state_and_time(api: httpx.AsyncClient):
    ids = {}
    for owner in ("ada", "grace"):
        answer = await api.post("/v1/jobs", json=JOB | {"labels": {"owner": owner, "run": "a=b"}})
        ids[owner] = answer.json()["id"]
    await api.post(f"/v1/jobs/{ids['ada']}/cancel")

    async def listed(**asked: Any) -> list[str]:
        answer = await api.get("/v1/jobs", params=asked)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["items"]]

    both = [ids["grace"], ids["ada"]]
    assert await listed() == await listed(label=["run=a=b"]) == await listed(team="default") == both
    assert await listed(label=["run=a=b", "owner=ada"]) == [ids["ada"]]
    assert await listed(label="owner=ada", state="QUEUED") == await listed(team="others") == []
    moment = now()
    assert await listed(created_before=moment.isoformat()) == both
    assert await listed(created_before=moment.isoformat(), state="CANCELLED") == [ids["ada"]]
    assert await listed(created_after=moment.isoformat()) == []
    assert await listed(created_after=(moment - timedelta(hours=1)).isoformat()) == both


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"label": "owner"}, "label"),
        ({"label": "Owner=ada"}, "label"),
        ({"label": "owner=" + "x" * 64}, "label"),
        ({"label": [f"l{n}=x" for n in range(17)]}, "label"),
        ({"cursor": "x" * 201}, "cursor"),
        ({"created_after": "2026-11-01T12:00:00"}, "created_after"),
        ({"state": "SLEEPING"}, "state"),
        ({"team": "Not A Name"}, "team"),
        ({"limit": 201}, "limit"),
    ],
)
async def test_what_no_list_can_be_narrowed_to_is_refused_by_name(
    api: httpx.AsyncClient, asked: dict[str, Any], field: str
):
    for route in ("/v1/jobs", "/v1/studies"):
        answer = await api.get(route, params=asked)
        assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


@pytest.mark.parametrize(
    "labels",
    [{f"l{n}": "x" for n in range(17)}, {"Owner": "x"}, {"a" * 64: "x"}, {"": "x"}, {"a": "x" * 64}, {"a": "x\n"}],
)
async def test_labels_are_bounded(api: httpx.AsyncClient, labels: dict[str, str]):
    answer = await api.post("/v1/jobs", json=JOB | {"labels": labels})
    assert answer.status_code == 422
    assert answer.json()["field"].startswith("labels")


async def test_studies_are_listed_by_the_state_that_follows_from_their_jobs_and_by_label(
    api: httpx.AsyncClient, store: Store
):
    await store.create_teacher(a_teacher())
    made = []
    for number in range(12):
        body = {
            "name": "compared",
            "job": TAUGHT | {"labels": {"third": str(number % 3)}, "training": {"seed": number}},
        }
        made.append((await api.post("/v1/studies", json=body)).json()["study"]["id"])
    for study in made[::2]:
        await api.post(f"/v1/studies/{study}/cancel")

    async def listed(**asked: Any) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = (await api.get("/v1/studies", params=asked | ({"cursor": cursor} if cursor else {}))).json()
            found += [view["study"]["id"] for view in page["items"]]
            cursor = page["next"]
            if cursor is None:
                return found

    newest_first = made[::-1]
    assert await listed(limit=5) == newest_first
    assert await listed(limit=2, state="CANCELLED") == [study for study in newest_first if study in made[::2]]
    assert await listed(limit=2, label="third=0") == made[::3][::-1]
    assert await listed(state="CANCELLED", label="third=1") == [made[10], made[4]]
    assert await listed(state="RUNNING") == []


@pytest.mark.usefixtures("another_acts")
async def test_a_page_shows_what_is_read_one_by_one(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher())
    await api.post("/v1/studies", json={"name": "compared", "job": TAUGHT | {"labels": {"owner": "ada"}}})
    await api.post("/v1/jobs", json=JOB)
    for route in ("/v1/jobs", "/v1/studies"):
        answer = await api.get(route)
        assert answer.headers["content-type"] == "application/json"
        page = answer.json()
        ids = [item["id"] if "id" in item else item["study"]["id"] for item in page["items"]]
        assert page == {"items": [(await api.get(f"{route}/{one}")).json() for one in ids], "next": None}
        assert len(ids) == {"/v1/jobs": 3, "/v1/studies": 1}[route]
        assert (await api.get(route, params={"limit": 1})).json()["items"] == page["items"][:1]


async def test_jobs_of_a_study_are_paged_and_narrowed_too(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher())
    body = {"name": "seeds", "job": TAUGHT, "seeds": [1, 2, 3]}
    study = (await api.post("/v1/studies", json=body)).json()["study"]
    again = (await api.post("/v1/studies", json=body)).json()["study"]
    reused = set(again["jobs"].values()) & set(study["jobs"].values())
    assert len(reused) == 3
    found: list[str] = []
    cursor: str | None = None
    while True:
        asked = {"study": again["id"], "limit": "4"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/jobs", params=asked)).json()
        found += [job["id"] for job in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(found) == sorted(again["jobs"].values())
    assert set(found[-3:]) == reused  # they are older
    assert (await api.get("/v1/jobs", params={"study": "never-was"})).json() == {"items": [], "next": None}
    assert (await api.get("/v1/jobs", params={"study": study["id"], "state": "FAILED"})).json()["items"] == []


async def test_labels_of_before_that_are_none_any_more_are_left_out_of_what_is_read(store: Store, redis: Redis):
    job = a_queued_job(labels={"owner": "ada"})
    await store.create_jobs([job])
    text = str(await redis.get(names.record_key("job", job.id)))
    await redis.set(names.record_key("job", job.id), text.replace('"owner":"ada"', '"Owner":"ada","ok":"yes"'))
    assert (await store.job(job.id)).spec.labels == {"ok": "yes"}
