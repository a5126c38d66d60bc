"""A request with an Idempotency-Key does what it asks once, whoever dies in the middle, and is answered the same."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.job import JobSpec
from distill.contracts.records import JobRecord
from services.control_plane import examples, submit
from services.control_plane.main import create_app
from services.control_plane.once import MARKER_MS
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from services.control_plane.submit import TRIES, Submission
from services.stack.processes import free_ports
from tests.services.control_plane.access import client_of
from tests.services.control_plane.conftest import ADMIN_KEY, AUTHORIZED
from tests.services.control_plane.dying import a_dying
from tests.services.control_plane.proxies import a_proxy
from tests.services.control_plane.records import JOB, TAUGHT, a_teacher

VERSION: dict[str, Any] = examples.VERSIONS["from-a-file"]["value"]
STUDY: dict[str, Any] = {"name": "compared", "job": TAUGHT}
RESERVATION: dict[str, Any] = {"teacher": "wise@1", "rows_per_s": 100}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/jobs": JOB,
    "/v1/studies": STUDY,
    "/v1/teachers": {"name": "another"},
    "/v1/teachers/wise/versions": VERSION,
    "/v1/reservations": RESERVATION,
}
"""Every route that makes something, with a body."""


@pytest.fixture(autouse=True)
async def teacher(store: Store, settings: Settings) -> None:
    """There is one, and a file of weights."""
    await store.create_teacher(a_teacher())
    weights = settings.node.data_root / VERSION["members"][0]["path"]
    weights.parent.mkdir()
    weights.write_bytes(b"weights")


async def made(redis: Redis) -> dict[str, int]:
    """How many there are of everything that can be made."""
    counts = {kind: await redis.zcard(names.index_key(kind)) for kind in ("job", "study", "teacher")}
    versions = len((await Store(redis).teacher("wise")).versions)
    return counts | {"version": versions, "reservation": await redis.zcard(names.RESERVATIONS_KEY)}


async def forget_markers(redis: Redis) -> None:
    """As their time to live does."""
    for key in await redis.keys("stillhouse:answer:*"):
        if json.loads(await redis.get(key))["status"] is None:
            assert 0 < await redis.pttl(key) <= MARKER_MS
            await redis.delete(key)


@pytest.mark.parametrize("route", ROUTES)
async def test_the_first_answer_is_replayed_byte_for_byte(api: httpx.AsyncClient, redis: Redis, route: str):
    first = await api.post(route, json=ROUTES[route], headers={"Idempotency-Key": "once"})
    assert first.is_success, first.text
    before = await made(redis)
    again = await api.post(route, json=ROUTES[route], headers={"Idempotency-Key": "once"})
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == first.headers["content-type"] == "application/json"
    assert (again.headers["idempotent-replayed"], "idempotent-replayed" in first.headers) == ("true", False)
    assert await made(redis) == before
    [key] = await redis.keys("stillhouse:answer:*")
    assert 23.9 * 3600 < await redis.ttl(key) <= 24 * 3600
    other = await api.post(route, json=ROUTES[route] | {"name": "other"}, headers={"Idempotency-Key": "another"})
    assert other.status_code != first.status_code or await made(redis) != before


@pytest.mark.parametrize("route", ROUTES)
async def test_without_a_key_each_request_is_its_own(api: httpx.AsyncClient, redis: Redis, route: str):
    answers = [await api.post(route, json=ROUTES[route]) for _ in range(2)]
    assert answers[0].is_success
    assert answers[1].content != answers[0].content
    assert await redis.keys("stillhouse:answer:*") == []


@pytest.mark.usefixtures("another_acts")
async def test_what_is_answered_is_what_is_stored(api: httpx.AsyncClient):
    for route in ("/v1/jobs", "/v1/studies", "/v1/reservations"):
        answer = await api.post(route, json=ROUTES[route])
        stored = await api.get(answer.headers["location"])
        assert stored.json() == answer.json(), route


@pytest.mark.parametrize("route", ["/v1/jobs", "/v1/studies"])
async def test_who_draws_a_taken_identity_draws_again(
    api: httpx.AsyncClient, store: Store, redis: Redis, monkeypatch: pytest.MonkeyPatch, route: str
):
    # the baseline is taken from elsewhere, so the study draws one identity too
    await api.post("/v1/jobs", json=JOB)
    drawn = iter("aab" + "a" * TRIES)
    monkeypatch.setattr(submit, "new_identity", lambda name, **_: f"{name}-{next(drawn) * 6}")
    first, other = [(await api.post(route, json=ROUTES[route])).headers["location"] for _ in range(2)]
    assert [one.rpartition("-")[2] for one in (first, other)] == ["aaaaaa", "bbbbbb"]
    before = await made(redis)
    refused = await api.post(route, json=ROUTES[route], headers={"Idempotency-Key": "once"})
    assert refused.status_code == 409
    assert " exists already, and nothing was stored; submit again" in refused.json()["detail"]
    assert await made(redis) == before


async def test_the_key_of_another_request_is_refused(api: httpx.AsyncClient, redis: Redis):
    first = await api.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "once"})
    for route, body in (("/v1/jobs", JOB | {"name": "other"}), ("/v1/studies", STUDY), ("/v1/teachers", {"name": "x"})):
        answer = await api.post(route, json=body, headers={"Idempotency-Key": "once"})
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
            422, "key_reused", "Idempotency-Key",
        )  # fmt: skip
    again = await api.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "once"})
    assert again.content == first.content
    assert (await made(redis))["job"] == 1


@pytest.mark.parametrize(
    ("key", "status"), [("", 422), ("k", 202), ("k" * 255, 202), ("k" * 256, 422), ("ü ~\t!", 202)]
)
async def test_a_key_has_between_1_and_255_characters(api: httpx.AsyncClient, key: str, status: int):
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = await api.post("/v1/jobs", json=JOB, headers=headers)  # type: ignore[arg-type]  # httpx takes bytes too
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["field"] == "Idempotency-Key"


async def test_while_the_first_is_answered_others_with_its_key_are_told_to_ask_again(
    api: httpx.AsyncClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    inside, go_on = asyncio.Event(), asyncio.Event()
    check = Submission.job

    async def wait_inside(self: Submission, spec: JobSpec) -> JobRecord:
        inside.set()
        await go_on.wait()
        return await check(self, spec)

    monkeypatch.setattr(Submission, "job", wait_inside)
    asking = {"json": JOB, "headers": {"Idempotency-Key": "once"}}
    first = asyncio.create_task(api.post("/v1/jobs", **asking))
    await inside.wait()
    second = await api.post("/v1/jobs", **asking)
    assert (second.status_code, second.json()["code"], second.headers["retry-after"]) == (409, "in_progress", "1")
    other = await api.post("/v1/jobs", json=JOB | {"name": "x"}, headers={"Idempotency-Key": "once"})
    assert other.json()["code"] == "key_reused"
    go_on.set()
    assert (await api.post("/v1/jobs", **asking)).content == (await first).content
    assert (await made(redis))["job"] == 1


async def test_a_request_that_was_thought_dead_and_goes_on_makes_nothing(
    api: httpx.AsyncClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    for route in ("/v1/jobs", "/v1/studies", "/v1/teachers/wise/versions", "/v1/reservations"):
        inside, go_on = asyncio.Event(), asyncio.Event()
        method = {"/v1/jobs": "job", "/v1/studies": "study", "/v1/reservations": "reserved"}.get(route, "version")
        check: Callable[..., Awaitable[Any]] = getattr(Submission, method)

        async def wait_inside(
            self: Submission, spec: Any, *, check: Any = check, inside: Any = inside, go_on: Any = go_on, **more: Any
        ) -> Any:
            if not inside.is_set():
                inside.set()
                await go_on.wait()
            return await check(self, spec, **more)

        monkeypatch.setattr(Submission, method, wait_inside)
        asking = {"json": ROUTES[route], "headers": {"Idempotency-Key": f"once {method}"}}
        slow = asyncio.create_task(api.post(route, **asking))
        async with asyncio.timeout(10):
            await inside.wait()
        await forget_markers(redis)
        second = await api.post(route, **asking)
        assert second.is_success, second.text
        after = await made(redis)
        go_on.set()
        answer = await slow
        assert (answer.status_code, answer.json()["code"]) == (409, "in_progress"), route
        assert await made(redis) == after
        assert (await api.post(route, **asking)).content == second.content


async def test_a_request_that_fails_keeps_nothing_and_may_be_tried_again(api: httpx.AsyncClient, settings: Settings):
    body = JOB | {"student": JOB["student"] | {"init_from": {"source": "file", "path": "later.safetensors"}}}
    asking: dict[str, Any] = {"json": body, "headers": {"Idempotency-Key": "once"}}
    refused = await api.post("/v1/jobs", **asking)
    assert refused.status_code == 422, refused.text
    (settings.node.data_root / "later.safetensors").write_bytes(b"weights")
    assert (await api.post("/v1/jobs", **asking)).status_code == 202
    taken = {"json": {"name": "wise"}, "headers": {"Idempotency-Key": "twice"}}
    assert [(await api.post("/v1/teachers", **taken)).json()["code"] for _ in range(2)] == ["conflict", "conflict"]


async def test_answers_survive_a_restart_of_the_control_plane(redis: Redis, settings: Settings):
    answers = []
    for _ in range(2):
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app, ADMIN_KEY) as api:
            answers.append(await api.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "once"}))
    assert answers[0].content == answers[1].content
    assert (await made(redis))["job"] == 1


@pytest.mark.parametrize("route", ["/v1/jobs", "/v1/studies", "/v1/teachers/wise/versions", "/v1/reservations"])
async def test_where_redis_did_it_and_its_reply_was_lost_the_next_try_gets_the_answer(
    redis: Redis, settings: Settings, own_redis_url: str, route: str
):
    asking: dict[str, Any] = {"json": ROUTES[route], "headers": {"Idempotency-Key": "once"}}
    before = await made(redis)
    async with a_proxy(own_redis_url) as proxy:
        behind = settings.model_copy(update={"node": settings.node.model_copy(update={"redis_url": proxy.url})})
        app = create_app(behind)
        async with app.router.lifespan_context(app), client_of(app, ADMIN_KEY) as api:
            await api.post("/v1/jobs", json=JOB)  # Redis knows the scripts from here on
            proxy.cuts = lambda command: b"EVALSHA" in command and b'"status":20' in command
            lost = await api.post(route, **asking)
            proxy.cuts = lambda _: False
            assert (lost.status_code, lost.headers["retry-after"]) == (503, "5")
            assert proxy.num_cut == 1
            after = await made(redis)
            again = await api.post(route, **asking)
    assert again.is_success, again.text
    assert again.headers["idempotent-replayed"] == "true"
    assert await made(redis) == after != before


DEATHS = [
    ("/v1/jobs", "mark"), ("/v1/jobs", "make"), ("/v1/studies", "make"), ("/v1/teachers/wise/versions", "append"),
    ("/v1/teachers/wise/versions", "apply"), ("/v1/reservations", "make"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "step"), DEATHS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_before_and_after_each_step_it_is_made_once(
    redis: Redis, settings: Settings, tmp_path: Path, route: str, step: str, when: str
):
    asking: dict[str, Any] = {"json": ROUTES[route], "headers": {"Idempotency-Key": "once"}}
    before = await made(redis)
    url, port = settings.node.redis_url, free_ports(1)[0]
    with a_dying(url, tmp_path, port=port, key=ADMIN_KEY, when=when, step=step) as dying:
        with pytest.raises(httpx.HTTPError):
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=AUTHORIZED) as client:
                await client.post(route, **asking)
        await asyncio.to_thread(dying.join, 10)
        assert dying.exitcode == 9
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app, ADMIN_KEY) as api:
        answer = await api.post(route, **asking)
        left_a_marker = (when, step) != ("before", "mark") and not answer.is_success
        if left_a_marker:
            assert (answer.status_code, answer.json()["code"]) == (409, "in_progress")
            await forget_markers(redis)
            answer = await api.post(route, **asking)
        assert answer.is_success, answer.text
        again = await api.post(route, **asking)
    assert again.content == answer.content
    changed = {what: count - before[what] for what, count in (await made(redis)).items() if count != before[what]}
    assert changed == {
        "/v1/jobs": {"job": 1}, "/v1/studies": {"study": 1, "job": 2}, "/v1/reservations": {"reservation": 1},
        "/v1/teachers/wise/versions": {"version": 1},
    }[route]  # fmt: skip
