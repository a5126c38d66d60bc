"""Webhooks on a real Redis to a real server: signed, told at least once, given up in the end, and only whom one may."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import InvalidSpec
from distill.contracts.facts import CancelAsked, StudyReported
from distill.contracts.job import JobSpec
from distill.contracts.notify import Delivery
from distill.contracts.records import StudyRecord
from distill.contracts.study import StudySpec
from services.control_plane.main import create_app
from services.control_plane.reconciler import Reconciler
from services.control_plane.reservations import Reservations
from services.control_plane.reuse import reuse_digest
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from services.control_plane.webhooks.hosts import AllowedHosts
from services.control_plane.webhooks.outbox import CLAIM_S, MAX_AT_ONCE, MAX_OF_HOST, WAITS_S, Webhooks, read_delivery
from services.control_plane.webhooks.signing import read_secret, secret_of_team
from tests.services.control_plane.conftest import AUTHORIZED
from tests.services.control_plane.fakes import DOOR, FakeRay
from tests.services.control_plane.followers import wait_for
from tests.services.control_plane.receivers import CUT, NEVER, Receiver, receiving
from tests.services.control_plane.records import JOB, NOON, a_queued_job

SECRET = b"a secret that only the operator knows"


class Clock:
    """Stands still, after all that the test does at first, until it is moved."""

    def __init__(self) -> None:
        self.at = now() + timedelta(minutes=1)

    def __call__(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def webhooks_to(store: Store, redis: Redis, clock: Clock, *entries: str, **more: Any) -> Webhooks:
    return Webhooks(store, redis, AllowedHosts.parse(entries), SECRET, clock=clock, **more)


@pytest.fixture
def webhooks(store: Store, redis: Redis, clock: Clock, receiver: Receiver) -> Webhooks:
    return webhooks_to(store, redis, clock, f"127.0.0.1:{receiver.port}")


async def ended(store: Store, url: str, identity: str = "digits-abc234") -> None:
    """A job that was cancelled, with someone to be told."""
    await store.create_jobs([a_queued_job(identity, notify={"url": url})])
    await store.append("job", identity, CancelAsked(at=now()))


async def tell(webhooks: Webhooks) -> None:
    """A round, and the tries that it began."""
    await webhooks.tend()
    await webhooks.settled()


async def delivery(redis: Redis, identity: str = "digits-abc234") -> Delivery:
    found = await read_delivery(redis, "job", identity)
    assert found is not None
    return found


async def test_the_end_of_a_job_is_told_once_and_signed(
    store: Store, redis: Redis, webhooks: Webhooks, receiver: Receiver
):
    await ended(store, f"http://127.0.0.1:{receiver.port}/hooks?of=ci")
    await tell(webhooks)
    await tell(webhooks)
    (told,) = receiver.told
    assert told.line == "POST /hooks?of=ci HTTP/1.1"
    assert told.headers["host"] == f"127.0.0.1:{receiver.port}"
    told.verify(secret_of_team(SECRET, "default"))
    body = json.loads(told.body)
    assert (body["type"], body["data"]["id"], body["data"]["state"]) == ("job.ended", "digits-abc234", "CANCELLED")
    found = await delivery(redis)
    assert (found.state, found.tries, found.id) == ("delivered", 1, told.headers["webhook-id"])
    assert await redis.zcard(names.WEBHOOKS_KEY) == 0


def test_no_team_can_sign_what_another_one_trusts():
    assert secret_of_team(SECRET, "vision") != secret_of_team(SECRET, "speech")


async def test_nothing_is_due_before_the_end_and_nothing_where_nobody_asked(store: Store, redis: Redis):
    await store.create_jobs([a_queued_job("a-1", notify={"url": "http://127.0.0.1"}), a_queued_job("b-1")])
    assert await redis.zcard(names.WEBHOOKS_KEY) == 0
    await store.append("job", "b-1", CancelAsked(at=now()))
    assert await redis.zcard(names.WEBHOOKS_KEY) == 0
    await store.append("job", "a-1", CancelAsked(at=now()))
    await store.append("job", "a-1", CancelAsked(at=now()))
    assert await redis.zrange(names.WEBHOOKS_KEY, 0, -1) == ["job:a-1"]


async def test_a_study_is_told_of_when_its_report_is_written(store: Store, webhooks: Webhooks, receiver: Receiver):
    spec = StudySpec.model_validate(
        {"name": "s", "job": JOB, "notify": {"url": f"http://127.0.0.1:{receiver.port}/"}}
    )  # fmt: skip
    job = a_queued_job("s-1-student").model_copy(update={"study": "s-1"})
    study = StudyRecord(id="s-1", spec=spec, jobs={"student": job.id}, created_at=NOON, updated_at=NOON)
    await store.create_jobs([job], study)
    await store.append("job", job.id, CancelAsked(at=now()))
    await tell(webhooks)
    assert receiver.told == []
    await store.append("study", "s-1", StudyReported(report="reports/study-s-1", at=now()))
    await tell(webhooks)
    body = json.loads(receiver.told[0].body)
    assert (body["type"], body["data"]["state"]) == ("study.ended", "CANCELLED")
    assert body["data"]["jobs"] == {"student": job.id}


@pytest.mark.parametrize(("status", "why"), [(500, "answered 500"), (CUT, "connection failed"), (302, "redirect")])
async def test_a_try_that_fails_is_made_again_with_the_same_id(
    store: Store, redis: Redis, webhooks: Webhooks, receiver: Receiver, clock: Clock, status: int, why: str
):
    receiver.statuses = [status]
    await ended(store, f"http://127.0.0.1:{receiver.port}/")
    await tell(webhooks)
    found = await delivery(redis)
    assert found.state == "waiting"
    assert why in str(found.problem)
    clock.move(WAITS_S[0] - 0.1)
    await tell(webhooks)
    assert len(receiver.told) == 1
    clock.move(0.2)
    await tell(webhooks)
    assert receiver.ids == ["msg_job_digits-abc234"] * 2
    assert receiver.told[0].body == receiver.told[1].body
    assert {one.line for one in receiver.told} == {"POST / HTTP/1.1"}  # nobody went where the redirect pointed
    receiver.told[1].verify(secret_of_team(SECRET, "default"))
    assert ((await delivery(redis)).state, (await delivery(redis)).tries) == ("delivered", 2)


async def test_who_never_answers_well_is_given_up_visibly(
    store: Store, redis: Redis, webhooks: Webhooks, receiver: Receiver, clock: Clock
):
    receiver.statuses = [503] * 100
    await ended(store, f"http://127.0.0.1:{receiver.port}/")
    for wait in (0, *WAITS_S, 10**6, 10**6):
        clock.move(wait)
        await tell(webhooks)
    assert len(receiver.told) == len(WAITS_S) + 1
    found = await delivery(redis)
    assert (found.state, found.problem) == ("given_up", "it answered 503: no 2xx")
    assert await redis.zcard(names.WEBHOOKS_KEY) == 0
    assert 0 < await redis.ttl(names.webhook_key("job", "digits-abc234")) <= 30 * 86400


async def test_who_is_gone_for_good_is_not_told_again(
    store: Store, redis: Redis, webhooks: Webhooks, receiver: Receiver
):
    receiver.statuses = [410]
    await ended(store, f"http://127.0.0.1:{receiver.port}/")
    await tell(webhooks)
    assert ((await delivery(redis)).state, await redis.zcard(names.WEBHOOKS_KEY)) == ("given_up", 0)


async def test_a_crash_between_sending_and_confirming_sends_again_with_the_same_id(
    store: Store, redis: Redis, webhooks: Webhooks, receiver: Receiver, clock: Clock
):
    receiver.statuses = [NEVER]
    await ended(store, f"http://127.0.0.1:{receiver.port}/")
    await webhooks.tend()
    await receiver.answered.wait()
    await webhooks.close()  # the control plane dies: the receiver was told, and nobody wrote that down
    assert await read_delivery(redis, "job", "digits-abc234") is None
    next_one = webhooks_to(store, redis, clock, f"127.0.0.1:{receiver.port}")
    await tell(next_one)
    assert len(receiver.told) == 1  # it might still be under way
    clock.move(CLAIM_S)
    await tell(next_one)
    assert receiver.ids == ["msg_job_digits-abc234"] * 2
    assert (await delivery(redis)).state == "delivered"


async def test_a_slow_receiver_keeps_nobody_waiting_but_itself(
    store: Store, redis: Redis, clock: Clock, receiver: Receiver
):
    async with receiving(*[NEVER] * 40) as slow:
        webhooks = webhooks_to(store, redis, clock, f"127.0.0.1:{receiver.port}", f"127.0.0.1:{slow.port}")
        for number in range(40):
            await ended(store, f"http://127.0.0.1:{slow.port}/", f"slow-{number}")
        await ended(store, f"http://127.0.0.1:{receiver.port}/", "quick-1")
        for _ in range(3):
            async with asyncio.timeout(5):
                await webhooks.tend()  # a round doesn't wait for what it begins
            clock.move(0.1)
            await wait_for(lambda: sum(not task.done() for task in webhooks._tasks.values()) <= MAX_OF_HOST)
        async with asyncio.timeout(5):
            await receiver.answered.wait()
        assert len(slow.told) == MAX_OF_HOST
        await webhooks.close()


async def test_names_that_can_not_be_looked_up_hold_up_no_other_work(
    store: Store, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    looked_up, goes_on = threading.Semaphore(0), threading.Event()

    def black_hole(host: str, *_: Any, **__: Any) -> list[Any]:
        looked_up.release()
        goes_on.wait(30)
        raise socket.gaierror(f"no server answers for {host}")

    hosts = [f"hooks-{number}.example.com" for number in range(MAX_AT_ONCE)]
    webhooks = webhooks_to(store, redis, clock, *hosts)
    for number, host in enumerate(hosts):
        await ended(store, f"http://{host}/", f"digits-{number}")
    monkeypatch.setattr(socket, "getaddrinfo", black_hole)
    try:
        await webhooks.tend()
        await wait_for(lambda: looked_up.acquire(blocking=False))
        async with asyncio.timeout(5):
            assert await asyncio.gather(*(asyncio.to_thread(str, number) for number in range(MAX_AT_ONCE)))
    finally:
        goes_on.set()
        await webhooks.close()


async def test_no_answer_in_time_is_a_failed_try(store: Store, redis: Redis, clock: Clock):
    async with receiving(NEVER) as slow:
        webhooks = webhooks_to(store, redis, clock, f"127.0.0.1:{slow.port}", timeout_s=0.1)
        await ended(store, f"http://127.0.0.1:{slow.port}/")
        await tell(webhooks)
        assert "no answer within" in str((await delivery(redis)).problem)


@pytest.mark.parametrize(
    ("addresses", "told"),
    [(["127.0.0.1"], False), (["93.184.215.14", "10.0.0.1"], False), (["::ffff:127.0.0.1"], False), ([], False)],
)
async def test_a_listed_name_that_stands_for_a_private_address_is_not_told(
    store: Store, redis: Redis, clock: Clock, receiver: Receiver, addresses: list[str], told: bool
):
    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("hooks.example.com", receiver.port)
        return addresses

    webhooks = webhooks_to(store, redis, clock, f"hooks.example.com:{receiver.port}", resolve=resolve)
    await ended(store, f"http://hooks.example.com:{receiver.port}/")
    await tell(webhooks)
    assert "private address" in str((await delivery(redis)).problem)
    assert bool(receiver.told) is told


async def test_a_name_is_told_at_the_address_that_was_checked(
    store: Store, redis: Redis, clock: Clock, receiver: Receiver
):
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    entries = (f"hooks.example.com:{receiver.port}", "127.0.0.0/8")
    webhooks = webhooks_to(store, redis, clock, *entries, resolve=resolve)
    await ended(store, f"http://hooks.example.com:{receiver.port}/")
    await tell(webhooks)
    assert receiver.told[0].headers["host"] == f"hooks.example.com:{receiver.port}"


async def test_a_host_that_is_struck_off_the_list_is_told_nothing_more(
    store: Store, redis: Redis, clock: Clock, receiver: Receiver
):
    await ended(store, f"http://127.0.0.1:{receiver.port}/")
    await tell(webhooks_to(store, redis, clock, "hooks.example.com"))
    assert (receiver.told, (await delivery(redis)).problem) == ([], "its host is not on the operator's list")


def test_who_is_told_changes_nothing_of_what_a_baseline_is(tmp_path: Path):
    told = JobSpec.model_validate(JOB | {"notify": {"url": "https://hooks.example.com/"}})
    assert reuse_digest(told, tmp_path) == reuse_digest(JobSpec.model_validate(JOB), tmp_path)


async def test_a_control_plane_tells_what_was_submitted_to_it_and_says_how_it_went(
    redis: Redis, settings: Settings, receiver: Receiver, tmp_path: Path
):
    (tmp_path / "secret").write_bytes(SECRET)
    hosts = AllowedHosts.parse([f"127.0.0.1:{receiver.port}"])
    app = create_app(settings.model_copy(update={"webhook_hosts": hosts, "webhook_secret_path": tmp_path / "secret"}))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stillhouse", headers=AUTHORIZED) as api,
    ):
        notify = {"url": f"http://127.0.0.1:{receiver.port}/"}
        job = (await api.post("/v1/jobs", json=JOB | {"notify": notify})).json()["id"]
        assert (await api.get(f"/v1/jobs/{job}/webhook")).status_code == 404
        await api.post(f"/v1/jobs/{job}/cancel")
        await receiver.answered.wait()

        async def is_written() -> bool:
            return (await api.get(f"/v1/jobs/{job}/webhook")).status_code == 200

        await wait_for(is_written)
        answer = await api.get(f"/v1/jobs/{job}/webhook")
        assert (answer.json()["state"], answer.json()["tries"]) == ("delivered", 1)


async def test_only_who_holds_the_lease_tells(
    store: Store, redis: Redis, webhooks: Webhooks, receiver: Receiver, tmp_path: Path
):
    await ended(store, f"http://127.0.0.1:{receiver.port}/")
    reconciler = Reconciler(
        store, redis, FakeRay(), Reservations(redis, door=DOOR), storage=tmp_path, teacher_idle_s=60, door_port=8471,
        webhooks=webhooks,
    )  # type: ignore[arg-type]  # fmt: skip
    await redis.set(names.RECONCILER_KEY, "another")
    await reconciler.round()
    await webhooks.settled()
    assert receiver.told == []
    await redis.delete(names.RECONCILER_KEY)
    await reconciler.round()
    await webhooks.settled()
    assert len(receiver.told) == 1


def test_webhooks_that_could_not_be_signed_are_refused_at_start(tmp_path: Path):
    environment = {
        "STILLHOUSE_REDIS_URL": "redis://", "STILLHOUSE_STORAGE": "/x", "STILLHOUSE_RAY_DASHBOARD": "http://127.0.0.1:2",
        "STILLHOUSE_WEBHOOK_HOSTS": "hooks.example.com, 10.1.0.0/16",
    }  # fmt: skip
    with pytest.raises(InvalidSpec, match="could not be signed"):
        Settings.from_environment(environment)
    (tmp_path / "short").write_text("short")
    settings = Settings.from_environment(environment | {"STILLHOUSE_WEBHOOK_SECRET_PATH": str(tmp_path / "short")})
    assert settings.webhook_hosts.allows("https://hooks.example.com/")
    with pytest.raises(InvalidSpec, match="shorter than 32 bytes"):
        read_secret(tmp_path / "short")
