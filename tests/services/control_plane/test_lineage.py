"""From a student to what it comes from, and to what came of it: over lists that change with the records."""

from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.errors import Problem
from distill.contracts.facts import (
    AttemptClaimed,
    AttemptEnded,
    CancelAsked,
    GenerationReady,
    VersionCreated,
    VersionDeleted,
    VersionRejected,
)
from distill.contracts.lineage import (
    MOST_LINKS,
    JobLineage,
    JobLink,
    JobLinks,
    MemberLink,
    VersionLineage,
    VersionLink,
)
from distill.contracts.models import ImageInput, ZooModel
from distill.contracts.records import JobRecord, JobState, Outcome, StudyRecord
from distill.contracts.study import StudySpec
from distill.contracts.teachers import CheckedMember, MemberFromFile, TeacherVersionState
from services.control_plane.lineage import baselines_of
from services.control_plane.listing import Listing
from services.control_plane.lists import begun_list, lists_of, taught_list
from services.control_plane.store import Store
from tests.services.control_plane.access import Matrix
from tests.services.control_plane.records import (
    JOB,
    NOON,
    TAUGHT,
    WISE,
    a_queued_job,
    a_taught_job,
    a_teacher,
    a_version,
    at,
    said,
)

pytestmark = pytest.mark.usefixtures("another_acts")

FILE = MemberFromFile(
    source="file", path="nets/a.safetensors", model=ZooModel(name="mlp"),
    input=ImageInput(channels=1, height=8, width=8, mean=(0.3,), std=(0.25,)), classes=("a", "b"),
)  # fmt: skip


def beginning_from(job: str, **changes: Any) -> dict[str, Any]:
    """The student of a job file that begins from a job's weights."""
    return {"student": {"source": "zoo", "name": "mlp", "init_from": {"source": "job", "job": job}}, **changes}


def of_team(team: str, job: JobRecord) -> JobRecord:
    return job.model_copy(update={"team": team})


async def lineage_of(api: httpx.AsyncClient, job: str, **query: str) -> JobLineage:
    answer = await api.get(f"/v1/jobs/{job}/lineage", params=query)
    assert answer.status_code == 200, answer.text
    return JobLineage.model_validate(answer.json())


async def lineage_of_version(api: httpx.AsyncClient, reference: str, **query: str) -> VersionLineage:
    name, _, version = reference.partition("@")
    answer = await api.get(f"/v1/teachers/{name}/versions/{version}/lineage", params=query)
    assert answer.status_code == 200, answer.text
    return VersionLineage.model_validate(answer.json())


def ids(links: JobLinks) -> list[str]:
    return [link.id for link in links.items]


async def end(store: Store, job: str, outcome: Outcome = Outcome.FINISHED) -> None:
    await store.append("job", job, AttemptClaimed(attempt=1, at=NOON))
    await store.append("job", job, said(AttemptEnded(attempt=1, outcome=outcome, at=NOON), 1))


@pytest.fixture
async def family(store: Store) -> None:
    """``big`` and a file became ``wise@1``, which taught ``small``; ``warm`` begins from that, and ``small@1`` is it."""
    await store.create_jobs([a_queued_job("big")])
    await end(store, "big")
    members = (CheckedMember(job="big", folder="x", epoch=3), CheckedMember(file=FILE))
    await store.create_teacher(a_teacher(a_version(members=members)))
    await store.create_jobs([a_taught_job("small")])
    await end(store, "small")
    await store.create_jobs([a_queued_job("warm", **beginning_from("small"))])
    small = a_teacher(name="small", aliases={}).model_copy(update={"versions": ()})
    await store.create_teacher(small)
    version = a_version(members=(CheckedMember(job="small", folder="x"),), state=TeacherVersionState.CHECKING)
    await store.append("teacher", "small", VersionCreated(version=version, at=NOON))


@pytest.mark.usefixtures("family")
async def test_a_job_tells_what_it_comes_from_and_what_came_of_it(api: httpx.AsyncClient):
    small = await lineage_of(api, "small")
    assert small.job == JobLink(id="small", state=JobState.SUCCEEDED)
    assert small.taught_by == [VersionLink(teacher="wise", version=1, state=TeacherVersionState.READY)]
    assert (small.begins_from, small.generation_before, small.study, small.baselines) == ([], None, None, [])
    assert small.published_as.items == [VersionLink(teacher="small", version=1, state=TeacherVersionState.CHECKING)]
    assert small.begun == JobLinks(items=[JobLink(id="warm", state=JobState.QUEUED)])
    assert small.generations_after == JobLinks(items=[])
    warm, big = await lineage_of(api, "warm"), await lineage_of(api, "big")
    assert warm.begins_from == [JobLink(id="small", state=JobState.SUCCEEDED)]
    assert (warm.taught_by, warm.begun.items, warm.published_as.items) == ([], [], [])
    assert [link.reference for link in big.published_as.items] == ["wise@1"]


@pytest.mark.usefixtures("family")
async def test_a_version_tells_what_it_is_made_of_and_whom_it_taught(api: httpx.AsyncClient):
    wise = await lineage_of_version(api, "wise@1")
    assert wise.version == VersionLink(teacher="wise", version=1, state=TeacherVersionState.READY)
    assert wise.members == [
        MemberLink(job=JobLink(id="big", state=JobState.SUCCEEDED), epoch=3), MemberLink(file="nets/a.safetensors"),
    ]  # fmt: skip
    assert wise.students == JobLinks(items=[JobLink(id="small", state=JobState.SUCCEEDED)])
    assert (await lineage_of_version(api, "small@1")).students.items == []
    for path in (
        "/v1/teachers/wise/versions/2/lineage",
        "/v1/teachers/gone/versions/1/lineage",
        "/v1/jobs/gone/lineage",
    ):
        assert (await api.get(path)).status_code == 404


async def test_what_a_peer_begins_from_counts_too_and_each_job_once(api: httpx.AsyncClient, store: Store):
    await store.create_jobs([a_queued_job("one"), a_queued_job("two")])
    peer = {"source": "zoo", "name": "mlp", "init_from": {"source": "job", "job": "two"}}
    scheme = {"kind": "online", "peers": [peer, peer, beginning_from("one")["student"]]}
    terms = [{"kind": "labels", "weight": 1.0}, {"kind": "soft_targets", "weight": 1.0, "target": {"source": "peers"}}]
    spec = beginning_from("one", scheme=scheme, objective=terms)
    await store.create_jobs([a_queued_job("pair", **spec)])
    assert [link.id for link in (await lineage_of(api, "pair")).begins_from] == ["one", "two"]
    assert ids((await lineage_of(api, "one")).begun) == ids((await lineage_of(api, "two")).begun) == ["pair"]


@pytest.mark.usefixtures("family")
async def test_what_is_deleted_is_still_named_where_something_comes_from_it_and_nowhere_else(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    await store.append("job", "warm", CancelAsked(at=NOON))
    await store.append("teacher", "small", VersionRejected(version=1, problem=Problem(code="x", message="y"), at=NOON))
    assert (await api.delete("/v1/jobs/small")).status_code == 204
    assert (await lineage_of(api, "warm")).begins_from == [JobLink(id="small", state=None)]
    (member,) = (await lineage_of_version(api, "small@1")).members
    assert member.job == JobLink(id="small", state=None)
    assert (await lineage_of_version(api, "wise@1")).students.items == []
    assert not await redis.exists(taught_list("default", "wise@1"))
    assert (await api.delete("/v1/jobs/warm")).status_code == 204
    assert not await redis.exists(begun_list("default", "small"))
    assert (await api.get("/v1/jobs/small/lineage")).status_code == 404


@pytest.mark.usefixtures("family")
async def test_a_deleted_version_is_told_as_such_both_ways(api: httpx.AsyncClient, store: Store):
    await store.append("teacher", "small", VersionRejected(version=1, problem=Problem(code="x", message="y"), at=NOON))
    await store.append("teacher", "small", VersionDeleted(version=1, at=NOON))
    (link,) = (await lineage_of(api, "small")).published_as.items
    assert link.state is (await lineage_of_version(api, "small@1")).version.state is TeacherVersionState.DELETED


async def test_a_later_generation_is_tied_to_the_one_before_at_once_and_to_its_teacher_when_that_is_there(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    later = a_queued_job("s-g2", **{key: TAUGHT[key] for key in ("teachers", "objective")})
    first, second = a_queued_job("s-g1"), later.model_copy(update={"after": "s-g1"})
    await store.create_jobs([first, second])
    await end(store, "s-g1")
    assert (await lineage_of(api, "s-g2")).generation_before == JobLink(id="s-g1", state=JobState.SUCCEEDED)
    assert ids((await lineage_of(api, "s-g1")).generations_after) == ["s-g2"]
    assert (await api.get("/v1/jobs", params={"teacher": "wise@1"})).json()["items"] == []
    await store.create_teacher(a_teacher(a_version(members=(CheckedMember(job="s-g1", folder="x"),))))
    await store.append("job", "s-g2", GenerationReady(teachers=(WISE,), at=NOON))
    assert ids((await lineage_of_version(api, "wise@1")).students) == ["s-g2"]
    assert [link.reference for link in (await lineage_of(api, "s-g2")).taught_by] == ["wise@1"]
    shown = (await api.get("/v1/jobs", params={"teacher": "wise@1"})).json()["items"]
    assert [job["id"] for job in shown] == ["s-g2"]
    assert await redis.zcard(taught_list("default", "wise@1")) == 1


async def test_nothing_of_another_team_is_named(api: httpx.AsyncClient, store: Store):
    await store.create_jobs([a_queued_job("big")])
    members = (CheckedMember(job="big", folder="x", epoch=3), CheckedMember(file=FILE))
    await store.create_teacher(a_teacher(a_version(members=members)))
    await store.create_jobs([a_taught_job("ours"), of_team("vision", a_taught_job("theirs"))])
    assert ids((await lineage_of_version(api, "wise@1")).students) == ["ours"]
    theirs = await lineage_of_version(api, "wise@1", team="vision")
    assert ids(theirs.students) == ["theirs"]
    assert theirs.members == [MemberLink(), MemberLink()]
    shown = (await api.get("/v1/jobs", params={"teacher": "wise@1", "team": "vision"})).json()["items"]
    assert [job["id"] for job in shown] == ["theirs"]


async def test_a_teacher_that_is_hidden_from_the_team_has_no_state(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher(team="vision", visibility="team"))
    await store.create_jobs([a_taught_job("ours")])
    assert (await lineage_of(api, "ours")).taught_by == [VersionLink(teacher="wise", version=1, state=None)]
    assert (await api.get("/v1/teachers/wise/versions/1/lineage")).status_code == 404


async def test_of_many_students_the_newest_are_shown_and_a_listing_pages_through_all(
    api: httpx.AsyncClient, store: Store
):
    await store.create_teacher(a_teacher())
    made = [a_taught_job(f"taught-{n:03}").model_copy(update={"created_at": at(n)}) for n in range(MOST_LINKS + 3)]
    await store.create_jobs(made)
    students = (await lineage_of_version(api, "wise@1")).students
    newest_first = [job.id for job in reversed(made)]
    assert (ids(students), students.more) == (newest_first[:MOST_LINKS], True)
    found: list[str] = []
    asked = {"teacher": "wise@1", "limit": "40"}
    while True:
        page = (await api.get("/v1/jobs", params=asked)).json()
        found += [job["id"] for job in page["items"]]
        if page["next"] is None:
            break
        asked["cursor"] = page["next"]
    assert found == newest_first
    await store.append("job", "taught-007", CancelAsked(at=NOON))
    narrowed = (await api.get("/v1/jobs", params={"teacher": "wise@1", "state": "CANCELLED"})).json()["items"]
    assert [job["id"] for job in narrowed] == ["taught-007"]
    assert (await api.get("/v1/jobs", params={"teacher": "wise@2"})).json()["items"] == []


@pytest.mark.parametrize("teacher", ["wise", "wise@prod", "wise@0", "wise@01", "WISE@1", "wise@1 ", "*@1"])
async def test_a_listing_is_narrowed_to_a_version_and_to_nothing_else(api: httpx.AsyncClient, teacher: str):
    answer = await api.get("/v1/jobs", params={"teacher": teacher})
    assert (answer.status_code, answer.json()["field"]) == (422, "teacher")


async def test_students_of_a_study_are_narrowed_by_teacher_too(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher())
    taught = a_taught_job("s-student").spec.model_dump(mode="json")
    study = (await api.post("/v1/studies", json={"name": "s", "job": taught})).json()["study"]
    shown = (await api.get("/v1/jobs", params={"study": study["id"], "teacher": "wise@1"})).json()["items"]
    assert [job["id"] for job in shown] == [study["jobs"]["student"]]


async def test_a_student_stands_beside_the_baseline_of_its_seed_and_point(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher())
    taught = a_taught_job("x").spec.model_dump(mode="json")
    student = {"source": "zoo", "name": "mlp"}
    sweep = [
        {"name": name, "student": student | {"args": {"hidden": [size]}}} for name, size in (("small", 8), ("wide", 16))
    ]
    body = {"name": "s", "job": taught, "seeds": [1, 2], "sweep": sweep}
    study = (await api.post("/v1/studies", json=body)).json()["study"]
    lineage = await lineage_of(api, study["jobs"]["student-wide-s2"])
    assert (lineage.study, lineage.role) == (study["id"], "student-wide-s2")
    assert lineage.baselines == [JobLink(id=study["jobs"]["baseline-wide-s2"], state=JobState.QUEUED)]
    assert (await lineage_of(api, study["jobs"]["baseline-wide-s2"])).baselines == []


def test_a_study_of_before_has_its_one_baseline():
    study = StudyRecord(
        id="s", spec=StudySpec.model_validate({"name": "s", "job": JOB}), jobs={"student": "a", "baseline": "b"},
        created_at=NOON, updated_at=NOON,
    )  # fmt: skip
    assert (baselines_of(study, "a"), baselines_of(study, "b")) == (["b"], [])


async def test_lists_of_records_of_before_are_made_at_the_start(
    api: httpx.AsyncClient, store: Store, redis: Redis, family: None
):
    kept = {key: await redis.zrange(key, 0, -1) for key in await redis.keys("stillhouse:*s:of:*")}
    teachers = [key for key in kept if key.startswith("stillhouse:teachers:of:")]
    assert len(teachers) == 2
    await redis.delete(*[key for key in kept if "state:" not in key and not key.endswith("of:default")])
    assert (await lineage_of_version(api, "wise@1")).students.items == []
    await redis.set(names.LISTED_KEY, "1")  # as the version before these lists left it
    await Listing(store, redis).make_lists()
    assert {key: await redis.zrange(key, 0, -1) for key in await redis.keys("stillhouse:*s:of:*")} == kept
    assert ids((await lineage_of_version(api, "wise@1")).students) == ["small"]


async def test_a_teacher_is_in_the_list_of_each_job_once_however_many_versions_it_is_in(store: Store, redis: Redis):
    members = (CheckedMember(job="a", folder="x", epoch=1), CheckedMember(job="a", folder="x", epoch=2))
    teacher = a_teacher(a_version(members=members), a_version(version=2, members=(*members, CheckedMember(job="b"))))
    assert lists_of(teacher) == [f"stillhouse:teachers:of:default:made-of:{job}" for job in ("a", "b")]
    await store.create_teacher(teacher)
    assert [await redis.zcard(key) for key in lists_of(teacher)] == [1, 1]


async def test_another_teams_job_has_no_lineage(house: Any, api: httpx.AsyncClient):
    matrix = Matrix(house, api)
    await matrix.prepare()
    key = await matrix.key("read", team="others")
    for path in ("/v1/jobs/{job}/lineage", "/v1/teachers/{teacher}/versions/{version}/lineage"):
        assert (await matrix.ask(("GET", path), key)).status_code == 404
