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
from services.control_plane.reservations import Reservations
from services.control_plane.store import Store
from tests.services.control_plane.fakes import DOOR
from tests.services.control_plane.records import WISE, a_teacher, a_version

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
    from services.control_plane.ray_rest import ClusterResources, RayRest

    async def two_cpus(_: RayRest) -> ClusterResources:
        return ClusterResources(cpus=2)

    monkeypatch.setattr(RayRest, "resources", two_cpus)
    await store.create_teacher(a_teacher(a_version(resources=TeacherResources(num_cpus=3))))
    answer = await api.post("/v1/reservations", json=ASKED)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "no_room", "teacher")


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
