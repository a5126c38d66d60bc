"""The drill: a service full of work is backed up and destroyed; restored elsewhere it reads the same, and goes on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import (
    AttemptClaimed,
    AttemptEnded,
    AttemptLaunched,
    CancelAsked,
    CheckpointSaved,
    PauseAsked,
    PhaseReached,
    StudyReported,
)
from distill.contracts.records import CheckpointRef, JobState, Outcome, Phase
from distill.contracts.settings import NodeSettings
from services.backup.backup import make_backup
from services.backup.restore import restore
from services.control_plane.main import create_app
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from tests.services.control_plane.fakes import FakeRay, a_reconciler
from tests.services.control_plane.records import TAUGHT, a_teacher, said
from tests.services.control_plane.test_api import submitted

DIGEST = "sha256:" + "5" * 64


async def nobody_acts(redis: Redis) -> None:
    """No control plane makes rounds: what is read is what was stored."""
    await redis.set(names.RECONCILER_KEY, "another", ex=600)


def write(path: Path, text: str = "weights") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class House:
    """A service in the middle of its work."""

    def __init__(self, api: httpx.AsyncClient, store: Store, redis: Redis, storage: Path) -> None:
        self.api, self.store, self.redis, self.storage = api, store, redis, storage
        self.jobs: dict[str, str] = {}
        """What it is an example of -> its id."""

    async def fill(self) -> None:
        await self.store.create_teacher(a_teacher())
        write(self.storage / names.teacher_folder("wise", 1) / "manifest.json")
        for name in ("queued", "running", "paused", "succeeded", "failed", "cancelled"):
            self.jobs[name] = await submitted(self.api, name=name)
        await self._run("running")
        await self._run("succeeded", Outcome.FINISHED, result=f"runs/{self.jobs['succeeded']}/1/result.json")
        await self._run("failed", Outcome.FAILED)
        await self.store.append("job", self.jobs["paused"], PauseAsked(at=now()))
        await self.store.append("job", self.jobs["cancelled"], CancelAsked(at=now()))
        for part in ("result.json", "artifacts/model.safetensors", "log.txt"):
            write(self.storage / names.attempt_folder(self.jobs["succeeded"], 1) / part)
        studies = [(await self.api.post("/v1/studies", json={"name": "s", "job": TAUGHT})).json() for _ in range(2)]
        reported = studies[0]["study"]["id"]
        write(self.storage / "reports" / f"study-{reported}" / "report.json")
        fact = StudyReported(report=f"reports/study-{reported}", at=now())
        await self.store.append("study", reported, fact)
        await self.redis.hset(names.usage_key("default", "2026-11"), "wise@1|rows_computed", 7)
        await self.redis.hset(names.TEAM_WEIGHTS_KEY, "default", 2)
        await self.redis.set("stillhouse:answer:once", "replayed", ex=86_400)
        await self.redis.set(names.lease_key(self.jobs["running"]), 1, px=15_000)

    async def _run(self, name: str, outcome: Outcome | None = None, result: str | None = None) -> None:
        job = self.jobs[name]
        checkpoint = f"runs/{job}/1/checkpoints/step-00000005"
        write(self.storage / checkpoint / "state.json")
        write(self.storage / f"runs/{job}/1/train/bookkeeping.json")
        facts = [
            AttemptClaimed(attempt=1, at=now()),
            AttemptLaunched(attempt=1, submission_id=f"{job}-1", at=now()),
            said(PhaseReached(attempt=1, phase=Phase.WORKERS_READY, at=now()), 1),
            said(CheckpointSaved(
                attempt=1, at=now(),
                checkpoint=CheckpointRef(path=checkpoint, digest=DIGEST, epoch=1, step=5, attempt=1),
            ), 2),
        ]  # fmt: skip
        if outcome is not None:
            facts.append(said(AttemptEnded(attempt=1, outcome=outcome, result=result, at=now()), 3))
        for fact in facts:
            await self.store.append("job", job, fact)


@pytest.fixture
async def house(api: httpx.AsyncClient, store: Store, redis: Redis, settings: Settings) -> House:
    await nobody_acts(redis)
    house = House(api, store, redis, settings.node.storage)
    await house.fill()
    return house


@pytest.fixture
async def new_api(new_redis: Redis, settings: Settings, new_url: str, new_storage: Path) -> AsyncIterator[Any]:
    """Starts the application on the new Redis and the new storage, when it is called."""
    node = settings.node.model_copy(update={"redis_url": new_url, "storage": new_storage})
    app = create_app(settings.model_copy(update={"node": NodeSettings.model_validate(dict(node))}))
    started = app.router.lifespan_context(app)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stillhouse")
    is_started = []

    async def start() -> httpx.AsyncClient:
        await nobody_acts(new_redis)
        await started.__aenter__()
        is_started.append(True)
        return client

    yield start
    await client.aclose()
    if is_started:
        await started.__aexit__(None, None, None)


async def everything(api: httpx.AsyncClient) -> dict[str, Any]:
    """All that can be read over REST."""
    paths = ["/v1/jobs?limit=200", "/v1/studies?limit=200", "/v1/teachers", "/v1/usage?month=2026-11"]
    found = {path: (await api.get(path)).json() for path in paths}
    for job in found["/v1/jobs?limit=200"]["items"]:
        kept = ["", "/logs"] + (["/events"] if JobState(job["state"]).is_final else [])
        for path in (f"/v1/jobs/{job['id']}{more}" for more in kept):
            answer = await api.get(path)
            assert answer.status_code == 200, path
            found[path] = answer.text
    assert len(found) > 12
    return found


async def test_what_was_destroyed_reads_the_same_elsewhere_and_goes_on(
    house: House, new_redis: Redis, new_url: str, new_storage: Path, new_api: Any, tmp_path: Path, own_redis_url: str
):
    before = await everything(house.api)
    target = tmp_path / "backup"
    made = await asyncio.to_thread(make_backup, own_redis_url, house.storage, target, with_files=True)
    await house.redis.flushdb()

    done = await asyncio.to_thread(restore, target, new_url, new_storage, may_be_incomplete=False)
    assert (done.num_files, done.renumbered, done.restarted, done.missing) == (len(made.files), [], [], [])
    assert await everything(await new_api()) == before

    assert await new_redis.get("stillhouse:answer:once") == "replayed"
    assert 86_000 < await new_redis.ttl("stillhouse:answer:once") <= 86_400
    assert await new_redis.get(names.lease_key(house.jobs["running"])) is None
    assert not await new_redis.exists(names.RESTORING_KEY)
    await goes_on(house, new_redis, new_storage)


async def goes_on(house: House, new_redis: Redis, new_storage: Path) -> None:
    """A queued job starts; one that ran has lost its attempt with the cluster, and begins at its checkpoint again."""
    await new_redis.delete(names.RECONCILER_KEY)
    ray = FakeRay(cpus=20)
    reconciler = a_reconciler(new_redis, ray, new_storage)
    await reconciler.round()
    store = Store(new_redis)
    assert f"{house.jobs['queued']}-1" in ray.jobs
    assert (await store.job(house.jobs["queued"])).state is JobState.STARTING
    ran = await store.job(house.jobs["running"])
    assert ran.state is JobState.QUEUED
    assert ran.attempts[0].outcome is Outcome.LOST
    assert ran.checkpoint is not None
    assert (new_storage / ran.checkpoint.path / "state.json").read_text() == "weights"
    assert (await store.job(house.jobs["paused"])).state is JobState.PAUSED
    await reconciler.give_up_lease()


async def test_an_attempt_that_began_after_the_backup_keeps_its_number(
    house: House, new_redis: Redis, new_url: str, tmp_path: Path, own_redis_url: str
):
    target = tmp_path / "backup"
    await asyncio.to_thread(make_backup, own_redis_url, house.storage, target, with_files=False)
    job, queued = house.jobs["running"], house.jobs["queued"]
    write(house.storage / f"runs/{job}/3/log.txt")
    write(house.storage / f"runs/{queued}/1/log.txt")
    await house.redis.flushdb()

    done = await asyncio.to_thread(restore, target, new_url, house.storage, may_be_incomplete=False)
    assert sorted(done.renumbered) == sorted([job, queued])
    ray = FakeRay(cpus=20)
    store, reconciler = Store(new_redis), a_reconciler(new_redis, ray, house.storage)
    assert (await store.job(job)).attempt == 4
    await reconciler.round()
    assert [one.outcome for one in (await store.job(job)).attempts] == [
        None, Outcome.WAITED, Outcome.WAITED, Outcome.LOST,
    ]  # fmt: skip
    assert f"{queued}-3" in ray.jobs
    assert not {f"{queued}-1", f"{queued}-2"} & set(ray.jobs)
    await reconciler.give_up_lease()


async def test_a_job_whose_checkpoint_is_gone_begins_anew(
    house: House, new_redis: Redis, new_url: str, tmp_path: Path, own_redis_url: str
):
    target = tmp_path / "backup"
    await asyncio.to_thread(make_backup, own_redis_url, house.storage, target, with_files=False)
    job = house.jobs["running"]
    checkpoint = house.storage / f"runs/{job}/1/checkpoints/step-00000005"
    checkpoint.rename(checkpoint.with_name("step-00000009"))
    done = await asyncio.to_thread(restore, target, new_url, house.storage, may_be_incomplete=True)
    assert done.restarted == [job]
    assert done.missing == [f"runs/{job}/1/checkpoints/step-00000005/state.json is missing"]
    assert (await Store(new_redis).job(job)).checkpoint is None


async def test_files_are_those_that_records_stand_for(house: House, tmp_path: Path, own_redis_url: str):
    made = await asyncio.to_thread(make_backup, own_redis_url, house.storage, tmp_path / "backup", with_files=True)
    paths = {file.path for file in made.files}
    done, running = house.jobs["succeeded"], house.jobs["running"]
    assert {f"runs/{done}/1/artifacts/model.safetensors", f"runs/{done}/1/log.txt", "teachers/wise/1/manifest.json",
            f"runs/{running}/1/checkpoints/step-00000005/state.json"} < paths  # fmt: skip
    assert not [path for path in paths if "/train/" in path]
    assert len([path for path in paths if path.startswith("reports/study-")]) == 1
    copied = tmp_path / "backup/files"
    assert {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()} == paths
