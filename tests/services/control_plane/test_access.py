"""The access matrix: every route of the application, asked by everybody who may not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from distill.contracts.keys import Scope, new_key, new_key_id
from services.control_plane.authentication import OPEN
from services.control_plane.main import create_app
from services.control_plane.routes.health import in_short
from services.control_plane.settings import Settings
from services.control_plane.views import Readiness
from tests.services.control_plane.access import MISSING, NOT_ADMIN, Matrix, Route, client_of, named, routes, told
from tests.services.control_plane.conftest import ADMIN_KEY

BAD = ["no key", "no key of ours", "bad checksum", "unknown", "expired", "revoked", "rotated away"]


@pytest.fixture
async def matrix(house: FastAPI, api: httpx.AsyncClient) -> Matrix:
    matrix = Matrix(house, api)
    await matrix.prepare()
    return matrix


def guarded(house: FastAPI) -> dict[Route, Scope]:
    return {route: scope for route, scope in routes(house).items() if scope is not None}


def test_every_route_names_its_scope_or_is_one_of_the_few_open_ones(house: FastAPI):
    scopes = guarded(house)
    assert {path for _, path in routes(house).keys() - scopes.keys()} == OPEN
    assert {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"} == OPEN
    assert {scope for (method, _), scope in scopes.items() if method != "GET"} == {"submit", "publish", "admin"}
    assert {scope for (_, path), scope in scopes.items() if path.startswith("/v1/keys")} == {"admin"}
    assert len(scopes) >= 38


@pytest.mark.parametrize("who", BAD)
async def test_without_a_key_that_holds_every_route_answers_401(house: FastAPI, matrix: Matrix, who: str):
    for route in guarded(house):
        answer = await matrix.ask(route, matrix.keys[who])
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated"), route
        error = "" if who == "no key" else ', error="invalid_token"'
        assert answer.headers["www-authenticate"] == f'Bearer realm="stillhouse"{error}', route
        assert answer.headers["content-type"] == "application/problem+json"


async def test_without_the_scope_every_route_answers_403_and_names_it(house: FastAPI, matrix: Matrix):
    for route, scope in guarded(house).items():
        key = await matrix.key(*[one for one in NOT_ADMIN if one != scope])
        answer = await matrix.ask(route, key)
        assert (answer.status_code, answer.json()["code"], answer.json()["expected"]) == (403, "forbidden", scope), (
            route
        )
        assert "insufficient_scope" in answer.headers["www-authenticate"]


async def test_another_teams_things_are_answered_word_for_word_as_those_that_are_not_there(
    house: FastAPI, matrix: Matrix
):
    key = await matrix.key(*NOT_ADMIN, team="others")
    asked = [route for route, scope in guarded(house).items() if named(route) and scope != "admin"]
    assert len(asked) >= 26
    for route in asked:
        parts = named(route)
        theirs, nobodys = {part: matrix.own[part] for part in parts}, {part: MISSING[part] for part in parts}
        found, missed = await matrix.ask(route, key), await matrix.ask(route, key, names=nobodys)
        assert found.status_code == 404, (route, found.text)
        assert told(found, theirs) == told(missed, nobodys), route


async def test_lists_show_the_teams_own_alone(matrix: Matrix):
    key = await matrix.key(*NOT_ADMIN, team="others")
    for path, num_own in [("/v1/jobs", 2), ("/v1/studies", 1), ("/v1/teachers", 1), ("/v1/reservations", 1)]:
        own, others = await matrix.ask(("GET", path), ADMIN_KEY), await matrix.ask(("GET", path), key)
        assert (len(own.json()["items"]), others.json()["items"]) == (num_own, []), path


async def test_the_teams_own_key_is_let_in_everywhere_by_its_scope(house: FastAPI, matrix: Matrix):
    """Else all of the above could be said by a door that never opens."""
    await matrix.ask(("POST", "/v1/jobs/{job}/cancel"), ADMIN_KEY)
    for route, scope in guarded(house).items():
        if route[1].endswith("/{study}/events"):  # its end is the reconciler's, not ours, to make
            continue
        answer = await matrix.ask(route, await matrix.key(scope))
        assert answer.status_code not in {401, 403}, (route, answer.text)
        # a job may lack what is asked for, and nobody was to be told of a study's end
        is_bare = named(route) <= {"job"} or route[1].endswith("/webhook")
        assert answer.status_code != 404 or is_bare, (route, answer.text)


async def test_an_admin_acts_for_a_team_that_it_names_and_nobody_else_does(matrix: Matrix):
    jobs = ("GET", "/v1/jobs")
    assert (await matrix.ask(jobs, ADMIN_KEY, team="others")).json()["items"] == []
    others = await matrix.key("admin", team="others")
    assert len((await matrix.ask(jobs, others, team="default")).json()["items"]) == 2
    answer = await matrix.ask(jobs, await matrix.key(*NOT_ADMIN, team="others"), team="default")
    assert (answer.status_code, answer.json()["field"]) == (403, "team")
    assert (await matrix.ask(jobs, await matrix.key("read", team="others"), team="others")).status_code == 200
    missed = await matrix.ask(("GET", "/v1/jobs/{job}"), ADMIN_KEY, team="others")
    assert missed.status_code == 404


async def test_a_body_is_not_read_for_who_shows_no_key(house: FastAPI, matrix: Matrix):
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    async with httpx.AsyncClient(transport=httpx.ASGITransport(house), base_url="http://stillhouse") as client:
        assert (await client.post("/v1/jobs", content=never())).status_code == 401


@pytest.mark.parametrize("key", [None, "sth_nonsense", new_key(new_key_id())], ids=["no key", "bad", "unknown"])
@pytest.mark.usefixtures("redis")
async def test_who_shows_no_key_learns_what_is_down_and_not_where(settings: Settings, tmp_path: Path, key: str | None):
    node = settings.node.model_copy(update={"storage": tmp_path / "gone"})
    house = create_app(settings.model_copy(update={"node": node}))
    async with house.router.lifespan_context(house):
        async with client_of(house, key) as anybody:
            told = await anybody.get("/readyz")
        async with client_of(house, ADMIN_KEY) as operator:
            told_more = await operator.get("/readyz")
    assert (told.status_code, told_more.status_code) == (503, 503)
    short = {"redis": "ok", "ray": "doesn't answer as it should", "storage": "can't be read and written"}
    assert told.json() == {"ready": False, "dependencies": short, "warnings": []}
    assert str(tmp_path / "gone") in told_more.json()["dependencies"]["storage"]


def test_in_short_nothing_says_where_redis_is_or_how_it_is_set():
    words = {"redis": "doesn't answer: Error 111 connecting to 10.1.2.3:6379", "ray": "ok", "storage": "ok"}
    told = in_short(Readiness(ready=False, dependencies=words, warnings=["Redis has appendonly no"]))
    assert told.dependencies == {"redis": "doesn't answer", "ray": "ok", "storage": "ok"}
    assert told.warnings == []


async def test_however_many_ask_whether_it_is_ready_ray_is_asked_once_a_second(
    house: FastAPI, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    async def ping() -> None:
        asked.append(1)

    monkeypatch.setattr(house.state.context.ray, "ping", ping)
    async with client_of(house, None) as anybody:
        await asyncio.gather(*(anybody.get("/readyz") for _ in range(20)))
    assert len(asked) == 1


@pytest.mark.parametrize("path", sorted(OPEN))
async def test_what_is_open_needs_no_key(matrix: Matrix, path: str):
    assert (await matrix.ask(("GET", path), None)).status_code in {200, 503}
