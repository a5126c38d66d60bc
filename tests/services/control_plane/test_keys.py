"""API keys over REST: made once, shown once, rotated, revoked within a second, and nowhere to be found."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisGone

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import Conflict, DependencyDown, NotAuthenticated
from distill.contracts.keys import KeyRecord, KeyRotation, KeySpec, hash_of_key, new_key, new_key_id
from distill.journal.keys import KnownKeys
from services.control_plane.keys import Keys, revoked
from services.control_plane.main import create_app
from services.control_plane.settings import Settings
from tests.services.control_plane.access import client_of
from tests.services.control_plane.conftest import ADMIN_KEY
from tests.services.control_plane.records import JOB

WANTED = {"name": "nightly-runs", "team": "vision", "scopes": ["submit", "read"]}


async def made(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await api.post("/v1/keys", json=WANTED | changes)
    assert answer.status_code == 201, answer.text
    new: dict[str, Any] = answer.json()
    return new


async def status(house: FastAPI, key: str, path: str = "/v1/jobs") -> int:
    async with client_of(house, key) as client:
        return (await client.get(path)).status_code


async def test_a_new_key_is_shown_once_and_lets_its_team_in(house: FastAPI, api: httpx.AsyncClient):
    answer = await api.post("/v1/keys", json=WANTED)
    assert answer.headers["cache-control"] == "no-store"
    new = answer.json()
    assert new["record"] | {"created_at": None} == {
        "id": new["key"].split("_")[1], "team": "vision", "name": "nightly-runs", "scopes": ["read", "submit"],
        "created_at": None, "expires_at": None, "revoked_at": None,
    }  # fmt: skip
    async with client_of(house, new["key"]) as vision:
        job = (await vision.post("/v1/jobs", json=JOB)).json()
        assert job["team"] == "vision"
        assert [one["id"] for one in (await vision.get("/v1/jobs")).json()["items"]] == [job["id"]]
    assert new["key"] not in (await api.get("/v1/keys")).text


async def test_keys_are_listed_the_oldest_first_without_secrets(api: httpx.AsyncClient):
    new = [await made(api, name=name) for name in ("one", "two")]
    listed = (await api.get("/v1/keys")).json()["items"]
    assert [one["name"] for one in listed] == ["operator", "one", "two"]
    assert [one["id"] for one in listed[1:]] == [one["record"]["id"] for one in new]
    assert not any("secret" in key or "digest" in key for one in listed for key in one)


async def test_a_key_without_a_team_is_of_the_admins_own(api: httpx.AsyncClient):
    assert (await made(api, team=None))["record"]["team"] == "default"
    answer = await api.post("/v1/keys", params={"team": "speech"}, json={"name": "other"})
    assert answer.json()["record"]["team"] == "speech"


async def test_a_key_that_would_have_expired_is_not_made(api: httpx.AsyncClient):
    answer = await api.post("/v1/keys", json=WANTED | {"expires_at": (now() - timedelta(days=1)).isoformat()})
    assert (answer.status_code, answer.json()["field"]) == (422, "expires_at")


async def test_a_first_key_without_a_place_in_the_list_gets_it_at_the_next_start(redis: Redis):
    keys, first = Keys(redis), hash_of_key(ADMIN_KEY)
    await keys.enter_first(first, team="default")
    await redis.delete(names.KEYS_KEY)  # as one left it that died in between, when these were two steps
    await keys.enter_first(first, team="default")
    assert [one.id for one in await keys.all()] == [first.id]


async def test_a_rotated_key_has_a_new_secret_at_once_and_the_old_one_until_its_time(redis: Redis):
    keys = Keys(redis)
    moment = now()
    clock = iter(float(n) for n in range(0, 1000, 10))
    old = await keys.create(KeySpec(name="k"), team="vision")
    new = await keys.rotate(old.record.id, KeyRotation(overlap_s=60))
    assert (new.record.id, new.key != old.key) == (old.record.id, True)
    during = KnownKeys(redis, clock=lambda: next(clock), today=lambda: moment + timedelta(seconds=59))
    assert (await during.check(old.key)).id == (await during.check(new.key)).id
    after = KnownKeys(redis, clock=lambda: next(clock), today=lambda: now() + timedelta(seconds=61))
    assert (await after.check(new.key)).team == "vision"
    with pytest.raises(NotAuthenticated, match="expired"):
        await after.check(old.key)


async def test_rotating_again_never_lengthens_an_old_secrets_life(redis: Redis):
    keys = Keys(redis)
    first = await keys.create(KeySpec(name="k"), team="vision")
    for overlap_s in (60, 3600, 0):
        await keys.rotate(first.record.id, KeyRotation(overlap_s=overlap_s))
    (record,) = await keys.all()
    assert len(record.secrets) == 1


async def test_a_revoked_key_is_refused_by_every_process_within_a_second(redis: Redis):
    """With clocks of the test's own: at 0.999 s it may still be taken, at 1 s never."""
    keys, passed = Keys(redis), [100.0]
    made = await keys.create(KeySpec(name="k"), team="vision")
    processes = [KnownKeys(redis, clock=lambda: passed[0]) for _ in range(3)]
    for known in processes:
        assert (await known.check(made.key)).team == "vision"
    await keys.revoke(made.record.id)
    passed[0] = 101.0
    for known in processes:
        with pytest.raises(NotAuthenticated, match="revoked"):
            await known.check(made.key)


async def test_a_key_is_asked_of_redis_once_a_second_and_nobody_can_fill_the_memory(redis: Redis):
    keys, passed = Keys(redis), [100.0]
    made = await keys.create(KeySpec(name="k"), team="vision")
    known = KnownKeys(redis, clock=lambda: passed[0])
    await known.check(made.key)
    await redis.flushall()
    passed[0] = 100.9
    await known.check(made.key)
    for _ in range(100):
        with pytest.raises(NotAuthenticated, match="not known"):
            await known.check(new_key(new_key_id()))
    assert len(known._known._held) == 1
    passed[0] = 101.0
    with pytest.raises(NotAuthenticated):
        await known.check(made.key)


async def test_a_silent_redis_lets_nobody_in_after_a_second(redis: Redis, monkeypatch: pytest.MonkeyPatch):
    keys, passed = Keys(redis), [100.0]
    made = await keys.create(KeySpec(name="k"), team="vision")
    known = KnownKeys(redis, clock=lambda: passed[0])
    await known.check(made.key)

    async def gone(_: str) -> None:
        raise RedisGone("gone")

    monkeypatch.setattr(redis, "get", gone)
    await known.check(made.key)
    passed[0] = 101.0
    with pytest.raises(DependencyDown):
        await known.check(made.key)


async def test_revoking_over_rest_is_heard_at_once_and_twice_changes_nothing(house: FastAPI, api: httpx.AsyncClient):
    new = await made(api)
    first = await api.delete(f"/v1/keys/{new['record']['id']}")
    assert (first.status_code, first.json()["revoked_at"] is not None) == (200, True)
    assert await status(house, new["key"]) == 401
    assert (await api.delete(f"/v1/keys/{new['record']['id']}")).json() == first.json()
    assert (await api.post(f"/v1/keys/{new['record']['id']}/rotate")).status_code == 409


async def test_the_last_admin_key_can_not_be_revoked(api: httpx.AsyncClient):
    own = ADMIN_KEY.split("_")[1]
    answer = await api.delete(f"/v1/keys/{own}")
    assert (answer.status_code, "last admin key" in answer.json()["detail"]) == (409, True)
    await made(api, scopes=["admin"], expires_at=(now() + timedelta(days=1)).isoformat())
    assert (await api.delete(f"/v1/keys/{own}")).status_code == 409
    await made(api, scopes=["admin"])
    assert (await api.delete(f"/v1/keys/{own}")).status_code == 200


async def test_of_two_admins_who_revoke_each_other_at_once_one_stays(redis: Redis):
    keys = Keys(redis)
    pair = [(await keys.create(KeySpec(name="a", scopes=("admin",)), team="t")).record.id for _ in range(2)]
    ends = await asyncio.gather(*(keys.revoke(one) for one in pair), return_exceptions=True)
    assert sorted(type(end) for end in ends if isinstance(end, Exception)) == [Conflict]
    assert len([one for one in await keys.all() if one.lives(now())]) == 1


def test_who_is_no_admin_can_always_be_revoked():
    key = KeyRecord(id=new_key_id(), team="t", name="n", scopes=("read",), secrets=(), created_at=now())
    assert revoked(key, [], now()).revoked_at is not None


async def test_the_first_key_stays_what_it_became(redis: Redis, settings: Settings):
    keys, first = Keys(redis), hash_of_key(ADMIN_KEY)
    await keys.enter_first(first, team="default")
    await keys.create(KeySpec(name="a", scopes=("admin",)), team="default")
    await keys.revoke(first.id)
    await keys.enter_first(first, team="default")  # as a control plane that is started again does
    with pytest.raises(NotAuthenticated, match="revoked"):
        await KnownKeys(redis).check(ADMIN_KEY)
    assert len(await keys.all()) == 2


async def test_no_secret_is_in_redis_logs_or_answers(
    house: FastAPI, api: httpx.AsyncClient, redis: Redis, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    new = await made(api)
    key = new["key"]
    asked = {"Idempotency-Key": "once"}
    again = (await api.post("/v1/keys", json=WANTED | {"name": "again"}, headers=asked)).json()["key"]
    rotated = (await api.post(f"/v1/keys/{new['record']['id']}/rotate", headers=asked)).json()["key"]
    answers = []
    async with client_of(house, key) as vision:
        job = (await vision.post("/v1/jobs", json=JOB)).json()["id"]
        await vision.post("/v1/studies", json={"name": "s", "job": JOB})
        for path in (f"/v1/jobs/{job}", "/v1/jobs", "/v1/nothing", "/v1/keys", "/openapi.json"):
            answers.append((await vision.get(path)).text)
        await vision.post(f"/v1/jobs/{job}/cancel")
        answers.append((await vision.get(f"/v1/jobs/{job}/events")).text)
    async with client_of(house, key[:-1] + "x") as mistyped:
        answers.append((await mistyped.get("/v1/jobs")).text)
    stored = await everything(redis)
    assert len(stored) >= 20
    secrets = [one.split("_")[2][:40] for one in (key, again, rotated, ADMIN_KEY)]
    for place, texts in (("Redis", stored), ("logs", [caplog.text]), ("answers", answers)):
        assert [text[:200] for text in texts for secret in secrets if secret in text] == [], place


async def everything(redis: Redis) -> list[str]:
    """Every key and every value, whatever its type."""
    readers: dict[str, Any] = {
        "string": redis.get, "hash": redis.hgetall, "set": redis.smembers, "stream": redis.xrange,
        "zset": lambda key: redis.zrange(key, 0, -1), "list": lambda key: redis.lrange(key, 0, -1),
    }  # fmt: skip
    keys = [str(key) async for key in redis.scan_iter()]
    return [f"{key} {await readers[await redis.type(key)](key)}" for key in keys]


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The application on a real port: only so does a stream come piece by piece."""
    config = uvicorn.Config(create_app(settings), host="127.0.0.1", port=0, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    socket.listen()  # who comes before it has started waits
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        socket.close()


async def test_a_stream_that_was_opened_with_a_key_ends_when_it_is_revoked(
    redis: Redis, settings: Settings, caplog: pytest.LogCaptureFixture
):
    keys = Keys(redis)
    with served(settings) as url:
        async with httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=30
        ) as admin:
            new = (await admin.post("/v1/keys", json=WANTED)).json()
            shown = {"Authorization": f"Bearer {new['key']}"}
            job = (await admin.post("/v1/jobs", json=JOB, headers=shown)).json()["id"]
            async with admin.stream("GET", f"/v1/jobs/{job}/events", headers=shown) as stream:
                lines = stream.aiter_lines()
                assert [line async for line in first_of(lines, "event: job_created")]
                await keys.revoke(new["record"]["id"])
                # each second that Redis is asked, something may come; the stream ends at the first that does
                rest = asyncio.create_task(drained(lines))
                while not rest.done():
                    await admin.post(f"/v1/jobs/{job}/pause", params={"team": "vision"})
                    await admin.post(f"/v1/jobs/{job}/resume", params={"team": "vision"})
                assert not any("event: end" in line for line in await rest)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def first_of(lines: Any, wanted: str) -> Any:
    async for line in lines:
        if line == wanted:
            yield line
            return


async def drained(lines: Any) -> list[str]:
    return [line async for line in lines]


async def test_a_keys_record_is_readable_and_named_as_the_documents_say(redis: Redis):
    made = await Keys(redis).create(KeySpec(name="k"), team="vision")
    stored = KeyRecord.model_validate_json(str(await redis.get(names.key_key(made.record.id))))
    assert stored.view() == made.record
    assert await redis.zrange(names.KEYS_KEY, 0, -1) == [made.record.id]
