"""Reservations and usage over REST: what is promised, for how long, and what is counted."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import NotFound
from distill.contracts.pool import Reservation
from distill.contracts.teachers import TeacherResources, TeacherVersionState
from distill.contracts.teams import TeamSpec
from services.control_plane.ray_rest import ClusterResources, RayRest
from services.control_plane.reservations import Reservations
from services.control_plane.store import Store
from services.control_plane.teams import Teams
from tests.services.control_plane.fakes import DOOR
from tests.services.control_plane.records import MANIFEST, WISE, a_teacher, a_version

ASKED = {"teacher": "wise@prod", "rows_per_s": 5000}


async def reserved(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await api.post("/v1/reservations", json=ASKED | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_reservation_says_what_is_kept_until_when_and_where_to_ask(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher())
    answer = await api.post("/v1/reservations", json=ASKED)
    made = Reservation.model_validate_json(answer.content)
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/reservations/{made.id}")
    assert (made.team, made.teacher.reference, made.rows_per_s) == ("default", "wise@1", 5000)
    assert made.expires_at - made.created_at == timedelta(seconds=30)
    assert made.door == DOOR
    assert (await api.get(answer.headers["location"])).json() == answer.json()


async def test_it_expires_by_itself_in_redis_and_renewing_puts_that_off(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    await store.create_teacher(a_teacher())
    made = await reserved(api)
    key = names.reservation_key(made["id"])
    assert 29_000 < await redis.pttl(key) <= 30_000
    await redis.pexpire(key, 5_000)
    answer = await api.post(f"/v1/reservations/{made['id']}/renew")
    assert answer.status_code == 200
    assert datetime.fromisoformat(answer.json()["expires_at"]) > datetime.fromisoformat(made["expires_at"])
    assert await redis.pttl(key) > 29_000
    assert Reservation.model_validate_json(await redis.get(key)).expires_at > now() + timedelta(seconds=29)


async def test_what_has_expired_is_gone_from_everywhere_and_can_not_be_renewed(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    await store.create_teacher(a_teacher())
    lives, made = await reserved(api), await reserved(api)
    await redis.delete(names.reservation_key(made["id"]))  # as Redis does when its time is over
    await redis.zadd(names.RESERVATIONS_KEY, {made["id"]: now().timestamp() - 1})
    assert [one["id"] for one in (await api.get("/v1/reservations")).json()["items"]] == [lives["id"]]
    assert await redis.zrange(names.RESERVATIONS_KEY, 0, -1) == [lives["id"]]
    for method, path in (("GET", ""), ("POST", "/renew"), ("DELETE", "")):
        answer = await api.request(method, f"/v1/reservations/{made['id']}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "make a new one" in answer.json()["hint"]


async def test_it_can_be_ended_and_leaves_nothing_behind(api: httpx.AsyncClient, store: Store, redis: Redis):
    await store.create_teacher(a_teacher())
    made = await reserved(api)
    assert (await api.delete(f"/v1/reservations/{made['id']}")).status_code == 204
    assert await redis.exists(names.RESERVATIONS_KEY, names.reservation_key(made["id"])) == 0


async def test_renewing_never_brings_back_what_was_ended_meanwhile(redis: Redis, monkeypatch: pytest.MonkeyPatch):
    reservations = Reservations(redis, door=DOOR)
    made = await reservations.create(WISE, team="default", rows_per_s=1)
    read = reservations.read

    async def read_and_ended(identity: str) -> Reservation:
        found = await read(identity)
        await reservations.end(identity)
        return found

    monkeypatch.setattr(reservations, "read", read_and_ended)
    with pytest.raises(NotFound):
        await reservations.renew(made.id)
    assert await reservations.living() == []


async def test_an_alias_means_for_its_life_what_it_meant_at_first(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher(a_version(), a_version(version=2)))
    made = await reserved(api)
    assert (await api.put("/v1/teachers/wise/aliases/prod", json={"version": 2})).status_code == 200
    assert (await api.post(f"/v1/reservations/{made['id']}/renew")).json()["teacher"]["version"] == 1


@pytest.mark.parametrize(
    ("asked", "code", "field", "says"),
    [
        ({"teacher": "nobody@1"}, "unknown_teacher", "teacher", "one of wise@1"),
        ({"teacher": "wise@prd"}, "unknown_teacher", "teacher", "did you mean wise@prod?"),
        ({"teacher": "wise@2"}, "unknown_teacher", "teacher", "READY"),
        ({"teacher": "wise"}, "invalid_spec", "teacher", "fashion@prod"),
        ({"rows_per_s": 0}, "invalid_spec", "rows_per_s", "greater than 0"),
        ({"team": "others"}, "invalid_spec", "team", "team"),
    ],
)
async def test_what_can_not_be_kept_is_refused_with_the_field(
    api: httpx.AsyncClient, store: Store, asked: dict[str, Any], code: str, field: str, says: str
):
    checking = a_version(version=2, state=TeacherVersionState.CHECKING, manifest=None)
    await store.create_teacher(a_teacher(a_version(), checking))
    answer = await api.post("/v1/reservations", json=ASKED | asked)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, code, field)
    assert says in answer.text


async def test_a_teacher_that_the_cluster_can_never_hold_is_refused(
    api: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
):
    async def two_cpus(_: RayRest) -> ClusterResources:
        return ClusterResources(cpus=2)

    monkeypatch.setattr(RayRest, "resources", two_cpus)
    await store.create_teacher(a_teacher(a_version(resources=TeacherResources(num_cpus=3))))
    answer = await api.post("/v1/reservations", json=ASKED)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "no_room", "teacher")


@pytest.fixture
async def two_cpus(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that would hold the fewest replicas of either teacher, and not of both."""

    async def resources(_: RayRest) -> ClusterResources:
        return ClusterResources(cpus=2)

    monkeypatch.setattr(RayRest, "resources", resources)
    for name in ("wise", "other"):
        manifest = MANIFEST.model_copy(update={"teacher": name})
        large = a_version(resources=TeacherResources(num_cpus=1.5), manifest=manifest)
        await store.create_teacher(a_teacher(large).model_copy(update={"name": name}))


@pytest.mark.usefixtures("two_cpus")
async def test_what_is_reserved_leaves_room_or_is_refused(api: httpx.AsyncClient):
    first = await reserved(api)
    answer = await api.post("/v1/reservations", json=ASKED | {"teacher": "other@prod"})
    assert (answer.status_code, answer.json().get("field")) == (409, "teacher"), answer.text
    assert "take 1.5 CPUs, and beside what is reserved already the whole cluster has 0.5" in answer.json()["detail"]
    await reserved(api)  # the same teacher takes nothing more
    for one in (await api.get("/v1/reservations")).json()["items"]:
        await api.delete(f"/v1/reservations/{one['id']}")
    assert first["teacher"]["name"] == "wise"
    await reserved(api, teacher="other@prod")


async def test_a_teams_rows_a_second_count_for_jobs_and_reservations_together(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    await store.create_teacher(a_teacher())
    await Teams(redis).grant("default", TeamSpec(max_teacher_rows_per_s=8000))
    await reserved(api)
    answer = await api.post("/v1/reservations", json=ASKED)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "over_quota", "rows_per_s")
    assert answer.json()["expected"] == "at most 3,000"
    await reserved(api, rows_per_s=3000)


async def test_of_reservations_asked_for_at_once_only_those_begin_that_the_quota_allows(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    await store.create_teacher(a_teacher())
    await Teams(redis).grant("default", TeamSpec(max_teacher_rows_per_s=10_000))
    answers = await asyncio.gather(*(api.post("/v1/reservations", json=ASKED) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409, 409]


async def test_once_the_rows_of_the_month_are_used_up_nothing_is_reserved_nor_renewed(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    await store.create_teacher(a_teacher())
    await Teams(redis).grant("default", TeamSpec(max_teacher_rows_per_month=1000))
    made = await reserved(api)
    assert (await api.post(f"/v1/reservations/{made['id']}/renew")).status_code == 200
    await redis.hset(names.usage_key("default", f"{now():%Y-%m}"), mapping={"wise@1|rows_computed": "1000"})
    for path in ("/v1/reservations", f"/v1/reservations/{made['id']}/renew"):
        answer = await api.post(path, json=ASKED)
        assert (answer.status_code, answer.json()["code"]) == (409, "over_quota")
        assert "used up its 1,000 teacher rows of this month" in answer.json()["detail"]


async def test_a_team_has_so_many_reservations_and_no_more(
    api: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.reserving.MOST_OF_TEAM", 2)
    await store.create_teacher(a_teacher())
    await reserved(api)
    await reserved(api)
    answer = await api.post("/v1/reservations", json=ASKED)
    assert (answer.status_code, answer.json()["expected"]) == (409, "at most 2")


async def test_nobody_can_guess_a_reservation(redis: Redis):
    reservations = Reservations(redis, door=DOOR)
    made = await asyncio.gather(*(reservations.create(WISE, team="default", rows_per_s=1) for _ in range(50)))
    suffixes = {one.id.removeprefix("wise-") for one in made}
    assert len(suffixes) == 50
    assert {len(suffix) for suffix in suffixes} == {14}  # hexadecimal digits: 56 bits


async def test_usage_is_what_replicas_summed_by_team_teacher_and_month(api: httpx.AsyncClient, redis: Redis):
    november = names.usage_key("default", "2026-11")
    await redis.hincrby(november, "wise@1|rows_computed", 3000)
    await redis.hincrby(november, "wise@1|rows_computed", 30)
    await redis.hincrby(november, "wise@1|rows_recalled", 600)
    await redis.hincrbyfloat(november, "wise@1|device_seconds", 1.25)
    await redis.hincrby(november, "wise@2|refusals", 4)
    await redis.hincrby(november, "wise@2|figure_of_a_newer_version", 4)
    await redis.hincrby(names.usage_key("others", "2026-11"), "wise@1|rows_computed", 7)
    answer = (await api.get("/v1/usage", params={"month": "2026-11"})).json()
    assert (answer["team"], answer["month"]) == ("default", "2026-11")
    assert answer["teachers"] == [
        {"teacher": "wise@1", "rows_computed": 3030, "rows_recalled": 600, "device_seconds": 1.25, "refusals": 0},
        {"teacher": "wise@2", "rows_computed": 0, "rows_recalled": 0, "device_seconds": 0.0, "refusals": 4},
    ]
    others = (await api.get("/v1/usage", params={"month": "2026-11", "team": "others"})).json()
    assert [one["rows_computed"] for one in others["teachers"]] == [7]


async def test_a_month_of_nothing_is_empty_and_the_usual_one_is_this_one(api: httpx.AsyncClient):
    answer = (await api.get("/v1/usage")).json()
    assert (answer["month"], answer["teachers"]) == (f"{now():%Y-%m}", [])


@pytest.mark.parametrize("month", ["2026-13", "november", "2026-1", "2026-11-01"])
async def test_a_month_that_is_none_is_refused(api: httpx.AsyncClient, month: str):
    answer = await api.get("/v1/usage", params={"month": month})
    assert (answer.status_code, answer.json()["field"]) == (422, "month")
