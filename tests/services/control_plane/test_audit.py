"""The audit log over REST: every change leaves what was asked and what was answered, and nothing that is secret."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.audit import ServiceDid
from distill.contracts.keys import KeySpec
from services.control_plane.audit.chain import START, seal
from services.control_plane.audit.log import AuditLog
from services.control_plane.audit.requests import DRY_RUNS, REFUSED_AT_ONCE, Refusals
from services.control_plane.keys import Keys
from services.control_plane.main import create_app
from services.control_plane.rate import Rates
from services.control_plane.settings import Settings
from services.control_plane.teams import Teams
from services.stack.processes import free_ports
from tests.services.control_plane.access import NOT_ADMIN, Matrix, Route, client_of, named, routes
from tests.services.control_plane.audits import Stream, entries, rewrite, verdict
from tests.services.control_plane.conftest import ADMIN_KEY, AUTHORIZED
from tests.services.control_plane.dying import a_dying
from tests.services.control_plane.records import JOB, NOON
from tests.services.control_plane.test_once import forget_markers


@pytest.fixture
async def matrix(house: FastAPI, api: httpx.AsyncClient) -> Matrix:
    matrix = Matrix(house, api)
    await matrix.prepare()
    return matrix


def changing(house: FastAPI) -> list[Route]:
    """Every route that may change something."""
    found = [route for route, scope in routes(house).items() if scope is not None and route[0] != "GET"]
    assert len(found) >= 21
    return [route for route in found if route[1] not in DRY_RUNS]


async def left(api: httpx.AsyncClient, answer: httpx.Response) -> list[dict[str, Any]]:
    """The entries that this request left, in order."""
    found = await entries(api, limit=10)
    return [one for one in reversed(found) if one.get("request") == answer.headers["x-request-id"]]


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


async def check_pair(api: httpx.AsyncClient, route: Route, answer: httpx.Response, team: str) -> None:
    asked, answered = await left(api, answer)
    assert (asked["kind"], answered["kind"], answered["asked"]) == ("asked", "answered", asked["number"]), route
    assert (asked["method"], asked["route"]) == route
    assert answered["status"] == answer.status_code, route
    path = answer.request.url.path
    for one in (asked, answered):
        assert (one["team"], one["path"], one["method"]) == (team, path, route[0]), route
    body = answer.request.content
    assert asked["body"] == digest(body), route


async def test_every_route_that_may_change_something_leaves_what_was_asked_and_answered(
    house: FastAPI, api: httpx.AsyncClient, matrix: Matrix
):
    await matrix.ask(("POST", "/v1/jobs/{job}/cancel"), ADMIN_KEY)
    statuses = set()
    for route in changing(house):
        answer = await matrix.ask(route, ADMIN_KEY)
        await check_pair(api, route, answer, "default")
        statuses.add(answer.status_code // 100)
    assert statuses == {2, 4}, "some were done, and some refused"
    assert (await verdict(api))["whole"]


async def test_who_may_not_leaves_that_too(house: FastAPI, api: httpx.AsyncClient, matrix: Matrix):
    scopes = routes(house)
    stranger = await matrix.key(*NOT_ADMIN, team="others")
    for route in changing(house):
        answer = await matrix.ask(route, await matrix.key(*[one for one in NOT_ADMIN if one != scopes[route]]))
        assert answer.status_code == 403, route
        await check_pair(api, route, answer, "default")
        if named(route) and scopes[route] != "admin":
            answer = await matrix.ask(route, stranger)
            assert answer.status_code == 404, route
            await check_pair(api, route, answer, "others")


async def test_who_shows_no_key_that_holds_leaves_nothing_and_so_does_who_only_reads(
    house: FastAPI, api: httpx.AsyncClient, redis: Redis, matrix: Matrix
):
    before = await redis.xlen(names.AUDIT_KEY)
    for route in changing(house):
        for key in matrix.keys.values():
            assert (await matrix.ask(route, key)).status_code == 401
    for path in DRY_RUNS:
        assert ("POST", path) in routes(house)
        assert (await api.post(path, json=JOB if "jobs" in path else {"name": "s", "job": JOB})).status_code == 200
    for route in routes(house):
        if route[0] in {"GET", "HEAD"} and not route[1].endswith(("/events", "/logs")):
            await matrix.ask(route, ADMIN_KEY)
    assert await redis.xlen(names.AUDIT_KEY) == before


async def test_an_answer_says_what_was_made_and_a_request_what_it_sent(api: httpx.AsyncClient):
    answer = await api.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "once"})
    asked, answered = await left(api, answer)
    assert answered["made"] == answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert (asked["body"], asked["once"]) == (digest(answer.request.content), digest(b"once"))
    again = await api.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "once"})
    assert [one["kind"] for one in await left(api, again)] == ["asked", "answered"]
    key = await api.post("/v1/keys", json={"name": "nightly"})
    assert (await left(api, key))[1]["made"] == f"/v1/keys/{key.json()['record']['id']}"
    collected = await api.post("/v1/gc", params={"dry_run": "true"})
    assert ("body" in (await left(api, collected))[0], (await left(api, collected))[0]["query"]) == (
        False, "dry_run=true",
    )  # fmt: skip


REFUSED: list[tuple[int, str, dict[str, Any]]] = [
    (422, "/v1/jobs", {"content": b"{no json"}),
    (413, "/v1/jobs", {"content": b" " * (1 << 21)}),
    (404, "/v1/nothing", {"json": {}}),
    (405, "/v1/usage", {"json": {}}),
    (422, "/v1/jobs", {"json": JOB, "params": {"team": "No Team"}}),
]


@pytest.mark.parametrize(("status", "path", "request_"), REFUSED)
async def test_what_comes_to_no_route_leaves_its_refusal(
    api: httpx.AsyncClient, status: int, path: str, request_: dict[str, Any]
):
    answer = await api.post(path, **request_)
    assert answer.status_code == status
    (refused,) = await left(api, answer)
    assert (refused["kind"], refused["status"], refused["path"], refused["left_out"]) == ("answered", status, path, 0)
    assert "asked" not in refused


async def test_who_asks_in_another_teams_name_leaves_it_in_her_own(
    house: FastAPI, api: httpx.AsyncClient, matrix: Matrix
):
    key = await matrix.key(*NOT_ADMIN, team="others")
    refused = await matrix.ask(("POST", "/v1/jobs"), key, team="default")
    (one,) = await left(api, refused)
    assert (refused.status_code, one["team"], one["query"]) == (403, "others", "team=default")
    as_admin = await matrix.ask(("POST", "/v1/jobs"), ADMIN_KEY, team="others")
    assert {one["team"] for one in await left(api, as_admin)} == {"others"}


async def test_a_request_too_many_leaves_its_refusal(redis: Redis, settings: Settings):
    app = create_app(settings)
    app.state.rates = Rates(rate=1, burst=2, clock=lambda: 0.0)
    async with app.router.lifespan_context(app), client_of(app, ADMIN_KEY) as api:
        statuses = [(await api.post("/v1/jobs", json=JOB)).status_code for _ in range(3)]
    assert statuses == [202, 202, 429]
    last: Any = await redis.xrevrange(names.AUDIT_KEY, count=1)
    assert (json.loads(last[0][1]["entry"])["status"], await redis.xlen(names.AUDIT_KEY)) == (429, 1 + 2 * 2 + 1)


def test_of_a_flood_of_refusals_some_are_written_down_and_the_others_counted():
    clock = [0.0]
    refusals = Refusals(lambda: clock[0])
    assert [refusals.count("vision") for _ in range(REFUSED_AT_ONCE + 7)] == [0] * REFUSED_AT_ONCE + [None] * 7
    assert refusals.count("speech") == 0
    clock[0] = 1.0
    assert [refusals.count("vision") for _ in range(2)] == [7, None]
    clock[0] = 3600.0
    assert [refusals.count("vision") for _ in range(2)] == [1, 0]


async def test_a_bug_of_ours_is_an_answer_too(house: FastAPI, monkeypatch: pytest.MonkeyPatch, api: httpx.AsyncClient):
    async def broken(*_: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Teams, "grant", broken)
    transport = httpx.ASGITransport(house, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://stillhouse", headers=AUTHORIZED) as client:
        assert (await client.put("/v1/teams/vision", json={})).status_code == 500
    answered, asked = (await entries(api, path="/v1/teams"))[:2]
    assert (answered["status"], answered["asked"]) == (500, asked["number"])


async def test_a_change_is_made_after_it_was_written_down(
    api: httpx.AsyncClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    there: list[str] = []

    async def look(*_: Any) -> None:
        last: Any = await redis.xrevrange(names.AUDIT_KEY, count=1)
        there.append(json.loads(last[0][1]["entry"])["route"])
        raise KeyError("enough")

    monkeypatch.setattr(Teams, "grant", look)
    with pytest.raises(KeyError, match="enough"):
        await api.put("/v1/teams/vision", json={})
    assert there == ["/v1/teams/{name}"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_in_the_middle_leaves_what_was_asked_without_an_answer(
    redis: Redis, settings: Settings, tmp_path: Path, when: str
):
    port = free_ports(1)[0]
    with a_dying(settings.node.redis_url, tmp_path, port=port, key=ADMIN_KEY, when=when, step="make") as dying:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=AUTHORIZED) as client:
            with pytest.raises(httpx.HTTPError):
                await client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "once"})
        await asyncio.to_thread(dying.join, 10)
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app, ADMIN_KEY) as api:
        (asked,) = await entries(api, path="/v1/jobs")
        assert asked["kind"] == "asked"
        found = await verdict(api)
        assert (found["whole"], found["unanswered"], found["num_unanswered"]) == (True, [asked["number"]], 1)
        await forget_markers(redis)
        assert (await api.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "once"})).status_code == 202
        assert (await verdict(api))["unanswered"] == [asked["number"]], "it was another request"


async def test_no_secret_and_no_body_is_in_it(api: httpx.AsyncClient, redis: Redis):
    made = (await api.post("/v1/keys", json={"name": "nightly", "team": "vision"})).json()
    rotated = (await api.post(f"/v1/keys/{made['record']['id']}/rotate")).json()
    word = "what-nobody-may-read"
    secrets = [made["key"], rotated["key"], ADMIN_KEY, made["key"][:-1]]
    for secret in secrets:
        for path in (f"/v1/keys/{secret}", f"/v1/keys/{secret.upper()}", f"/v1/jobs/x?key={secret}", f"/v1/{secret}"):
            assert (await api.delete(path)).is_client_error
    job = JOB | {"labels": {"owner": word}}
    assert (await api.post("/v1/jobs", json=job, headers={"Idempotency-Key": word})).status_code == 202
    log = json.dumps(await redis.xrange(names.AUDIT_KEY)).lower()
    assert made["record"]["id"] in log
    for secret in (*(one.split("_")[2] for one in secrets), word):
        assert secret not in log
    assert (await verdict(api))["whole"]


async def test_however_long_a_path_is_its_entry_is_short(api: httpx.AsyncClient, redis: Redis):
    for query, status in (("", 404), (f"?{'y' * 20_000}", 422)):
        answer = await api.delete(f"/v1/jobs/{'x' * 20_000}{query}")
        assert (answer.status_code, len(answer.content) < 25_000) == (status, True)
    lengths = [len(fields["entry"]) for _, fields in await redis.xrevrange(names.AUDIT_KEY, count=4)]
    assert all(length < 1500 for length in lengths), lengths


async def test_a_team_sees_its_own_and_an_admin_all(house: FastAPI, api: httpx.AsyncClient):
    keys: Keys = house.state.context.keys
    theirs = {team: (await keys.create(KeySpec(name="k"), team=team)).key for team in ("vision", "speech")}
    for key in theirs.values():
        async with client_of(house, key) as client:
            assert (await client.post("/v1/jobs", json=JOB)).status_code == 202
    await api.post("/v1/jobs", params={"team": "speech"}, json=JOB)
    for team, count in (("vision", 2), ("speech", 4)):
        async with client_of(house, theirs[team]) as client:
            own = await entries(client)
            assert ({one["team"] for one in own}, len(own)) == ({team}, count)
            assert own == await entries(client, team=team) == await entries(api, team=team)
            assert (await client.get("/v1/audit", params={"team": "default"})).status_code == 403
            assert (await client.get("/v1/audit/verify")).status_code == 403
    assert [one["kind"] for one in await entries(api)][-1] == "did"
    assert [one["number"] for one in await entries(api)] == [*range(7, 0, -1)]


async def test_pages_are_narrowed_and_stable(api: httpx.AsyncClient):
    jobs = [(await api.post("/v1/jobs", json=JOB)).json()["id"] for _ in range(3)]
    for job in jobs:
        await api.post(f"/v1/jobs/{job}/cancel")
    everything = await entries(api)
    assert [one["number"] for one in everything] == [*range(13, 0, -1)]
    first = (await api.get("/v1/audit", params={"limit": 5})).json()
    await api.post("/v1/jobs", json=JOB)
    second = (await api.get("/v1/audit", params={"limit": 5, "cursor": first["next"]})).json()
    assert first["items"] + second["items"] == everything[:10]
    assert len(await entries(api, path=f"/v1/jobs/{jobs[0]}")) == 2
    by_route = await entries(api, path="/v1/jobs/{job}/cancel", limit=2)
    assert {one["path"] for one in by_route} == {f"/v1/jobs/{job}/cancel" for job in jobs}
    assert await entries(api, key="abcdefghjk") == []
    assert len(await entries(api, key=ADMIN_KEY.split("_")[1])) == 14
    since, until = everything[5]["at"], everything[2]["at"]
    assert [one["number"] for one in await entries(api, since=since, until=until)] == [10, 9, 8]
    assert await entries(api, since="2999-01-01T00:00:00Z") == []
    for cursor in ("x", first["next"] + "A"):
        assert (await api.get("/v1/audit", params={"cursor": cursor})).json()["field"] == "cursor"


CHANGES: dict[str, tuple[Callable[[Stream], Stream], str]] = {
    "changed": (
        lambda log: [*log[:3], (log[3][0], log[3][1] | {"entry": log[3][1]["entry"].replace("POST", "PUT")}), *log[4:]],
        "entry 4 is not what was sealed there",
    ),
    "removed": (lambda log: log[:3] + log[4:], "entry 4 is missing"),
    "swapped": (
        lambda log: [*log[:3], (log[3][0], log[4][1]), (log[4][0], log[3][1]), *log[5:]],
        "in the place of entry 4 stands entry 5",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_what_is_changed_in_redis_is_found_by_its_number(api: httpx.AsyncClient, redis: Redis, what: str):
    for _ in range(3):
        await api.post("/v1/jobs", json=JOB)
    found = await verdict(api)
    assert (found["whole"], found["num_entries"], found["head"].partition(":")[0]) == (True, 7, "7")
    change, words = CHANGES[what]
    await rewrite(redis, change)
    broken = await verdict(api)
    assert (broken["whole"], broken["broken_at"], broken["num_entries"]) == (False, 4, 3)
    assert words in broken["what"]


async def test_who_noted_the_head_finds_a_log_that_was_written_anew(api: httpx.AsyncClient, redis: Redis):
    await api.post("/v1/jobs", json=JOB)
    noted = (await verdict(api))["head"]
    await api.post("/v1/jobs", json=JOB)
    assert (await verdict(api, noted=noted))["whole"]
    entry = ServiceDid(at=NOON, what="nothing", details={})
    anew = [(f"{link.number}-0", {"entry": link.text, "hash": link.hash}) for link in seal([entry] * 5, START)]
    await rewrite(redis, lambda _: anew)
    assert (await verdict(api))["whole"], "nobody can see it from the log alone"
    found = await verdict(api, noted=noted)
    assert (found["whole"], found["broken_at"]) == (False, 3)
    assert (await api.get("/v1/audit/verify", params={"noted": "3"})).json()["field"] == "noted"


async def test_two_writers_at_once_make_one_chain(
    api: httpx.AsyncClient, redis: Redis, own_redis_url: str, tmp_path: Path
):
    def did(number: int) -> ServiceDid:
        return ServiceDid(at=NOON, what="nothing", details={"number": number})

    async with Redis.from_url(own_redis_url, decode_responses=True) as other:
        logs = [AuditLog(one, tmp_path) for one in (redis, other)]
        written = await asyncio.gather(*(logs[number % 2].append(did(number)) for number in range(200)))
        one_by_one = [await logs[number % 2].append(did(number)) for number in range(20)]
    assert sorted(written) == [*range(2, 202)]
    assert one_by_one == [*range(202, 222)]
    found = await verdict(api)
    assert (found["whole"], found["num_entries"]) == (True, 221)
    of = {one["number"]: one["details"]["number"] for one in await entries(api, limit=200) if one["what"] == "nothing"}
    assert [of[number] for number in written] == [*range(200)], "everybody was told the number of his own"


async def test_two_control_planes_at_once_make_one_chain(redis: Redis, settings: Settings):
    apps = [create_app(settings) for _ in range(2)]
    async with (
        apps[0].router.lifespan_context(apps[0]),
        apps[1].router.lifespan_context(apps[1]),
        client_of(apps[0], ADMIN_KEY) as one,
        client_of(apps[1], ADMIN_KEY) as other,
    ):
        answers = await asyncio.gather(*((one, other)[n % 2].post("/v1/jobs", json=JOB) for n in range(20)))
        assert {answer.status_code for answer in answers} == {202}
        found = await verdict(one)
        assert found == await verdict(other)
    assert (found["whole"], found["num_entries"], found["num_unanswered"]) == (True, 41, 0)


async def test_an_entry_that_comes_again_as_its_reply_was_lost_is_there_once(redis: Redis, tmp_path: Path):
    log = AuditLog(redis, tmp_path)
    links = seal([ServiceDid(at=NOON, what="nothing", details={})], START)
    for _ in range(2):
        assert await log._append(keys=[names.AUDIT_KEY], args=["", "0", *links[0]]) is None
    assert await redis.xlen(names.AUDIT_KEY) == 1


async def test_the_operators_key_is_let_in_once_and_that_is_written_down(redis: Redis, settings: Settings):
    for number in range(2):
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app, ADMIN_KEY) as api:
            (one,) = await entries(api)
        if number == 0:
            await redis.delete(names.KEYS_KEY)
    identity = ADMIN_KEY.split("_")[1]
    assert await redis.zscore(names.KEYS_KEY, identity) is not None, "its lost place was made anew"
    assert (one["what"], one["details"]) == ("operator_key", {"key": identity, "team": "default"})
