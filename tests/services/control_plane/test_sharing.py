"""Teachers of teams: who may see one, learn from it, publish it, move its aliases, and take a version away."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from distill.contracts.base import now
from distill.contracts.facts import AliasMoved, CancelAsked, VersionCreated, VersionDeleted
from distill.contracts.keys import KeySpec
from distill.contracts.teachers import TeacherVersionState
from services.control_plane.registry import apply_teacher_fact, uses_of
from services.control_plane.store import Store
from tests.services.control_plane.access import client_of
from tests.services.control_plane.records import (
    JOB,
    TAUGHT,
    a_reservation,
    a_taught_job,
    a_teacher,
    a_version,
    at,
)

ALIAS = "/v1/teachers/wise/aliases/prod"


@pytest.fixture
async def others(house: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody of another team, who may all but administer."""
    spec = KeySpec(name="others", scopes=("read", "submit", "publish"))
    made = await house.state.context.keys.create(spec, team="others")
    async with client_of(house, made.key) as client:
        yield client


async def test_a_teacher_is_its_makers_and_shared_unless_said_otherwise(
    api: httpx.AsyncClient, others: httpx.AsyncClient
):
    await api.post("/v1/teachers", json={"name": "open"})
    made = (await api.post("/v1/teachers", json={"name": "hidden", "visibility": "team"})).json()
    assert (made["team"], made["visibility"]) == ("default", "team")
    assert [one["name"] for one in (await api.get("/v1/teachers")).json()["items"]] == ["open", "hidden"]
    seen = (await others.get("/v1/teachers")).json()["items"]
    assert [(one["name"], one["team"]) for one in seen] == [("open", "default")]


async def test_a_shared_teacher_teaches_all_and_is_changed_by_its_owner_alone(
    store: Store, api: httpx.AsyncClient, others: httpx.AsyncClient
):
    await store.create_teacher(a_teacher(a_version(), a_version(version=2)))
    assert (await others.post("/v1/jobs", json=TAUGHT)).json()["team"] == "others"
    assert (await others.post("/v1/reservations", json={"teacher": "wise@1", "rows_per_s": 1})).status_code == 201
    version = {"members": [{"source": "job", "job": "a-1"}]}
    for method, path, body in [
        ("PUT", ALIAS, {"version": 2}),
        ("POST", "/v1/teachers/wise/versions", version),
        ("DELETE", "/v1/teachers/wise/versions/2", None),
    ]:
        answer = await others.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
        assert "belongs to team default" in answer.json()["detail"]
    assert (await store.teacher("wise")).revision == 0
    assert (await api.put(ALIAS, json={"version": 2})).status_code == 200


async def test_a_hidden_teacher_is_unknown_to_others_at_submit_as_if_it_were_not_there(
    store: Store, api: httpx.AsyncClient, others: httpx.AsyncClient
):
    await store.create_teacher(a_teacher(visibility="team"))
    for path, body in [("/v1/jobs", TAUGHT), ("/v1/reservations", {"teacher": "wise@prod", "rows_per_s": 1})]:
        assert (await api.post(path, json=body)).is_success
        hidden = (await others.post(path, json=body)).json()
        assert (hidden["status"], hidden["code"], "there are none yet" in hidden["expected"]) == (
            422,
            "unknown_teacher",
            True,
        )
    await others.post("/v1/teachers", json={"name": "own"})
    missing = (await others.post("/v1/reservations", json={"teacher": "gone@prod", "rows_per_s": 1})).json()
    assert hidden == missing | {"detail": hidden["detail"], "got": hidden["got"]}
    assert hidden["detail"] == missing["detail"].replace("gone", "wise")


async def test_another_teams_job_is_no_member_and_no_beginning(
    store: Store, api: httpx.AsyncClient, others: httpx.AsyncClient
):
    job = (await api.post("/v1/jobs", json=JOB)).json()["id"]
    await others.post("/v1/teachers", json={"name": "own"})
    member = {"members": [{"source": "job", "job": job}]}
    answer = (await others.post("/v1/teachers/own/versions", json=member)).json()
    assert (answer["status"], answer["detail"]) == (422, f"members.0.job: there is no job '{job}'")
    begun = JOB | {"student": JOB["student"] | {"init_from": {"source": "job", "job": job}}}
    assert f"there is no job '{job}'" in (await others.post("/v1/jobs", json=begun)).json()["detail"]
    assert (await api.post("/v1/jobs", json=begun)).json()[
        "code"
    ] == "conflict"  # it has not ended yet, and is said to be


async def test_an_alias_is_moved_only_from_where_it_is_thought_to_be(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher(*(a_version(version=number) for number in (1, 2, 3))))
    assert (await api.put(ALIAS, json={"version": 2, "expected": 1})).json()["aliases"] == {"prod": 2}
    late = await api.put(ALIAS, json={"version": 3, "expected": 1})
    assert (late.status_code, late.json()["got"], late.json()["expected"]) == (409, "2", "1")
    assert (await api.put("/v1/teachers/wise/aliases/new", json={"version": 1, "expected": 2})).status_code == 409
    assert (await api.put("/v1/teachers/wise/aliases/new", json={"version": 1, "expected": 0})).status_code == 200
    assert (await api.put("/v1/teachers/wise/aliases/new", json={"version": 2, "expected": 0})).status_code == 409
    assert (await api.put(ALIAS, json={"version": 3})).json()["aliases"] == {"prod": 3, "new": 1}


def test_of_two_who_move_an_alias_at_once_the_second_changes_nothing():
    first = apply_teacher_fact(
        a_teacher(a_version(), a_version(version=2), a_version(version=3)),
        AliasMoved(alias="prod", version=2, expected=1, at=at(1)),
    )
    assert first.aliases == {"prod": 2}
    assert apply_teacher_fact(first, AliasMoved(alias="prod", version=3, expected=1, at=at(2))) is first


@pytest.mark.parametrize("state", [TeacherVersionState.CHECKING, TeacherVersionState.DELETED])
def test_an_alias_never_comes_to_mean_what_can_not_teach(state: TeacherVersionState):
    teacher = a_teacher(a_version(), a_version(version=2, state=state))
    assert apply_teacher_fact(teacher, AliasMoved(alias="prod", version=2, at=at(1))) is teacher


async def test_a_deleted_version_leaves_its_number_behind(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher(a_version(), a_version(version=2)))
    for _ in range(2):
        assert (await api.delete("/v1/teachers/wise/versions/2")).status_code == 204
    teacher = await store.teacher("wise")
    assert [(one.version, one.state) for one in teacher.versions] == [(1, "READY"), (2, "DELETED")]
    asked = (await api.post("/v1/reservations", json={"teacher": "wise@2", "rows_per_s": 1})).json()
    assert (asked["code"], "DELETED" in asked["detail"]) == ("unknown_teacher", True)
    assert (await api.put(ALIAS, json={"version": 2})).status_code == 409
    again = VersionCreated(version=a_version(version=2), at=now())
    assert apply_teacher_fact(teacher, again) is teacher
    assert len(apply_teacher_fact(teacher, VersionCreated(version=a_version(version=3), at=now())).versions) == 3


async def test_a_version_that_somebody_uses_stays(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher(a_version(), a_version(version=2), a_version(version=3)))
    version = "/v1/teachers/wise/versions/1"
    job = (await api.post("/v1/jobs", json=TAUGHT)).json()["id"]
    held = (await api.post("/v1/reservations", json={"teacher": "wise@1", "rows_per_s": 1})).json()["id"]
    used = (await api.delete(version)).json()
    assert (used["status"], used["got"]) == (409, "the alias prod, 1 job, 1 reservation")
    await api.put(ALIAS, json={"version": 3})
    await api.delete(f"/v1/reservations/{held}")
    assert (await api.delete(version)).json()["got"] == "1 job"
    await store.append("job", job, CancelAsked(at=now()))
    assert (await api.delete(version)).status_code == 204


async def test_a_version_that_is_being_checked_is_not_taken_away(api: httpx.AsyncClient, store: Store):
    checking = a_version(version=2, state=TeacherVersionState.CHECKING, manifest=None)
    await store.create_teacher(a_teacher(a_version(), checking))
    answer = await api.delete("/v1/teachers/wise/versions/2")
    assert (answer.status_code, answer.json()["got"]) == (409, "CHECKING")
    assert (await api.delete("/v1/teachers/wise/versions/9")).status_code == 404


def test_an_alias_that_comes_before_the_deletion_wins():
    teacher = a_teacher(a_version(), a_version(version=2))
    moved = apply_teacher_fact(teacher, AliasMoved(alias="new", version=2, at=at(1)))
    assert apply_teacher_fact(moved, VersionDeleted(version=2, at=at(2))) is moved


def test_what_uses_a_version_is_counted_without_telling_whose_it_is():
    teacher = a_teacher(a_version(), a_version(version=2))
    jobs, reservations = [a_taught_job(), a_taught_job("taught-abc235")], [a_reservation()]
    assert uses_of(teacher, 1, jobs, reservations) == ["the alias prod", "2 jobs", "1 reservation"]
    assert uses_of(teacher, 2, jobs, reservations) == []
