"""The drill: a service full of work is backed up and destroyed; restored elsewhere it reads the same, and goes on."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import InvalidData
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
from services.control_plane.audit import files
from services.control_plane.audit.chain import to_line
from services.control_plane.audit.moving import Mover
from services.control_plane.audit.reading import AuditReader, Wanted, links_of
from services.control_plane.main import create_app
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from tests.services.control_plane.audits import verdict
from tests.services.control_plane.conftest import AUTHORIZED
from tests.services.control_plane.fakes import FakeRay, a_reconciler
from tests.services.control_plane.records import JOB, TAUGHT, a_queued_job, a_teacher, said
from tests.services.control_plane.test_api import submitted

DIGEST = "sha256:" + "5" * 64
ONCE = {"Idempotency-Key": "the night of the fire"}
LABELS = {"owner": "ada", "run": "a long one"}


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
        self.once = ""
        """What a request with `ONCE` was answered."""
        self.keys: dict[str, str] = {}
        """One that holds, and one that was revoked."""
        self.deleted = ""
        """A job that is, but for its files."""

    async def fill(self) -> None:
        await self.store.create_teacher(a_teacher())
        write(self.storage / names.teacher_folder("wise", 1) / "manifest.json")
        for name in ("queued", "running", "paused", "succeeded", "failed", "cancelled"):
            self.jobs[name] = await submitted(self.api, name=name, labels=LABELS | {"state": name})
        await self._run("running")
        await self._run("succeeded", Outcome.FINISHED, result=f"runs/{self.jobs['succeeded']}/1/result.json")
        await self._run("failed", Outcome.FAILED)
        await self.store.append("job", self.jobs["paused"], PauseAsked(at=now()))
        await self.store.append("job", self.jobs["cancelled"], CancelAsked(at=now()))
        for part in ("result.json", "artifacts/model.safetensors", "log.txt"):
            write(self.storage / names.attempt_folder(self.jobs["succeeded"], 1) / part)
        studies = [(await self.api.post("/v1/studies", json={"name": "s", "job": TAUGHT | {"labels": LABELS}})).json()
                   for _ in range(2)]  # fmt: skip
        reported = studies[0]["study"]["id"]
        write(self.storage / "reports" / f"study-{reported}" / "report.json")
        fact = StudyReported(report=f"reports/study-{reported}", at=now())
        await self.store.append("study", reported, fact)
        await self.redis.hset(names.usage_key("default", "2026-11"), "wise@1|rows_computed", 7)
        assert (await self.api.put("/v1/teams/default", json={"weight": 2, "max_jobs": 40})).is_success
        self.once = (await self.api.post("/v1/jobs", json=JOB | {"name": "once"}, headers=ONCE)).text
        await self.redis.set(names.lease_key(self.jobs["running"]), 1, px=15_000)
        await self._make_keys()
        await self._end_two()
        await self._age_audit_log()

    async def _age_audit_log(self) -> None:
        """Its oldest entries are in a file by now."""
        older: Any = await self.redis.xrange(names.AUDIT_KEY, count=3)
        files.write(self.storage, links_of(older))
        await self.redis.xtrim(names.AUDIT_KEY, minid="4-0", approximate=False)

    async def _make_keys(self) -> None:
        for name in ("holds", "revoked"):
            made = (await self.api.post("/v1/keys", json={"name": name, "team": "vision"})).json()
            self.keys[name] = made["key"]
        assert (await self.api.delete(f"/v1/keys/{made['record']['id']}")).is_success

    async def _end_two(self) -> None:
        """One of which somebody is still to be told, and one that is deleted, though its files are there yet."""
        self.jobs["told"] = "told-abc234"
        await self.store.create_jobs([a_queued_job("told-abc234", notify={"url": "https://there.example/end"})])
        await self.store.append("job", "told-abc234", CancelAsked(at=now()))
        deleted = await submitted(self.api, name="deleted", labels=LABELS)
        await self.store.append("job", deleted, CancelAsked(at=now()))
        assert (await self.api.delete(f"/v1/jobs/{deleted}")).status_code == 204
        self.deleted = deleted

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
            problem = InvalidData("no such data").problem() if outcome is Outcome.FAILED else None
            facts.append(said(AttemptEnded(attempt=1, outcome=outcome, problem=problem, result=result, at=now()), 3))
        for fact in facts:
            await self.store.append("job", job, fact)


@pytest.fixture(autouse=True)
def lost_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits until an attempt that the new cluster doesn't know has been silent for long enough."""
    monkeypatch.setattr("services.control_plane.liveness.GRACE_S", 0.0)


@pytest.fixture
async def working(api: httpx.AsyncClient, store: Store, redis: Redis, settings: Settings) -> House:
    """As it is on the day before."""
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
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stillhouse", headers=AUTHORIZED)
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


FILTERED = (
    *(f"/v1/jobs?state={state}" for state in ("QUEUED", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED")),
    *(f"/v1/{kind}?label=owner%3Dada&label=run%3Da%20long%20one" for kind in ("jobs", "studies")),
    "/v1/jobs?state=FAILED&label=state%3Dfailed", "/v1/jobs?created_after=2020-01-01T00:00:00Z",
)  # fmt: skip


async def everything(api: httpx.AsyncClient) -> dict[str, Any]:
    """All that can be read over REST."""
    paths = ["/v1/jobs?limit=200", "/v1/studies?limit=200", "/v1/teachers", "/v1/usage?month=2026-11"]
    paths += ["/v1/keys", "/v1/teams", *FILTERED]
    found = {path: (await api.get(path)).json() for path in paths}
    assert [path for path in FILTERED if not found[path]["items"]] == []
    for job in found["/v1/jobs?limit=200"]["items"]:
        kept = ["", "/logs"] + (["/events"] if JobState(job["state"]).is_final else [])
        for path in (f"/v1/jobs/{job['id']}{more}" for more in kept):
            answer = await api.get(path)
            assert answer.status_code == 200, path
            found[path] = answer.text
    assert len(found) > 12
    return found


async def test_what_was_destroyed_reads_the_same_elsewhere_and_goes_on(
    working: House, new_redis: Redis, new_url: str, new_storage: Path, new_api: Any, tmp_path: Path, own_redis_url: str
):
    before = await everything(working.api)
    log, noted = await audited(working.redis, working.storage), (await verdict(working.api))["head"]
    assert {path.name for path in (working.storage / "audit").iterdir()} == {"000000000001-000000000003.jsonl"}
    target = tmp_path / "backup"
    made = await asyncio.to_thread(make_backup, own_redis_url, working.storage, target, with_files=True)
    await working.redis.flushdb()

    done = await asyncio.to_thread(restore, target, new_url, new_storage, may_be_incomplete=False)
    assert (done.num_files, done.renumbered, done.restarted, done.missing) == (len(made.files), [], [], [])
    assert (await audited(new_redis, new_storage))[0]["what"] == "restore"
    api = await new_api()
    assert await everything(api) == before
    assert await audited(new_redis, new_storage, but_for=1) == log
    found = await verdict(api, noted=noted)
    assert (found["whole"], found["num_entries"]) == (True, len(log) + 1)

    await answers_as_before(working, api, new_redis)
    assert await new_redis.zrange(names.WEBHOOKS_KEY, 0, -1) == ["job:told-abc234"]
    assert await new_redis.smembers(names.DELETED_KEY) == {f"job/{working.deleted}"}
    assert await new_redis.get(names.lease_key(working.jobs["running"])) is None
    assert not await new_redis.exists(names.RESTORING_KEY)
    await goes_on(working, new_redis, new_storage)


async def audited(redis: Redis, storage: Path, *, but_for: int = 0) -> list[dict[str, Any]]:
    """The audit log, newest first, without its newest entries."""
    links, _ = await AuditReader(redis, storage).page(Wanted(), limit=1000, before=None)
    return [json.loads(to_line(link)) for link in links][but_for:]


async def test_the_audit_log_goes_on_where_the_files_of_a_storage_that_lived_on_end(
    working: House, new_redis: Redis, new_url: str, tmp_path: Path, own_redis_url: str
):
    target = tmp_path / "backup"
    await asyncio.to_thread(make_backup, own_redis_url, working.storage, target, with_files=False)
    await submitted(working.api, name="after-the-backup")
    mover = Mover(working.redis, working.storage, days=1)
    await mover.move(now() + timedelta(days=3), dry_run=False)
    reader = AuditReader(working.redis, working.storage)
    before = await audited(working.redis, working.storage)
    noted = (await reader.walk()).head
    await working.redis.flushdb()

    await asyncio.to_thread(restore, target, new_url, working.storage, may_be_incomplete=False)
    walk = await AuditReader(new_redis, working.storage).walk()
    assert (walk.fault, walk.head.number) == (None, noted.number), "but for the newest entry, which Redis alone held"
    restored, *others = await audited(new_redis, working.storage)
    assert (restored["what"], others) == ("restore", before[1:])
    lost = (await AuditReader(new_redis, working.storage).walk(noted)).fault
    assert lost is not None
    assert lost.number == noted.number


async def answers_as_before(working: House, api: httpx.AsyncClient, new_redis: Redis) -> None:
    """A request of before is not done again, and keys are what they were."""
    again = await api.post("/v1/jobs", json=JOB | {"name": "once"}, headers=ONCE)
    assert (again.text, again.headers["Idempotent-Replayed"]) == (working.once, "true")
    [kept] = await new_redis.keys(names.answer_key("default", "*"))
    assert 86_000 < await new_redis.ttl(kept) <= 86_400
    asked = {name: await api.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"})
             for name, key in working.keys.items()}  # fmt: skip
    assert {name: answer.status_code for name, answer in asked.items()} == {"holds": 200, "revoked": 401}
    assert asked["holds"].json()["items"] == [], "it is another team's"


async def goes_on(working: House, new_redis: Redis, new_storage: Path) -> None:
    """A queued job starts; one that ran has lost its attempt with the cluster, and begins at its checkpoint again."""
    await new_redis.delete(names.RECONCILER_KEY)
    write(new_storage / names.attempt_folder(working.deleted, 1) / "log.txt")
    ray = FakeRay(cpus=20)
    reconciler = a_reconciler(new_redis, ray, new_storage)
    await reconciler.round()
    await reconciler.tidy()
    store = Store(new_redis)
    assert f"{working.jobs['queued']}-1" in ray.jobs
    assert (await store.job(working.jobs["queued"])).state is JobState.STARTING
    ran = await store.job(working.jobs["running"])
    assert ran.state is JobState.QUEUED
    assert ran.attempts[0].outcome is Outcome.LOST
    assert ran.checkpoint is not None
    assert (new_storage / ran.checkpoint.path / "state.json").read_text() == "weights"
    assert (await store.job(working.jobs["paused"])).state is JobState.PAUSED
    assert not (new_storage / names.run_folder(working.deleted)).exists()
    assert await new_redis.smembers(names.DELETED_KEY) == set()
    await reconciler.give_up_lease()


async def test_an_attempt_that_began_after_the_backup_keeps_its_number(
    working: House, new_redis: Redis, new_url: str, tmp_path: Path, own_redis_url: str
):
    target = tmp_path / "backup"
    await asyncio.to_thread(make_backup, own_redis_url, working.storage, target, with_files=False)
    job, queued = working.jobs["running"], working.jobs["queued"]
    write(working.storage / f"runs/{job}/3/log.txt")
    write(working.storage / f"runs/{queued}/1/log.txt")
    await working.redis.flushdb()

    done = await asyncio.to_thread(restore, target, new_url, working.storage, may_be_incomplete=False)
    assert sorted(done.renumbered) == sorted([job, queued])
    ray = FakeRay(cpus=20)
    store, reconciler = Store(new_redis), a_reconciler(new_redis, ray, working.storage)
    assert (await store.job(job)).attempt == 4
    await reconciler.round()
    assert [one.outcome for one in (await store.job(job)).attempts] == [
        None, Outcome.WAITED, Outcome.WAITED, Outcome.LOST,
    ]  # fmt: skip
    assert f"{queued}-3" in ray.jobs
    assert not {f"{queued}-1", f"{queued}-2"} & set(ray.jobs)
    await reconciler.give_up_lease()


async def test_a_job_whose_checkpoint_is_gone_begins_anew(
    working: House, new_redis: Redis, new_url: str, tmp_path: Path, own_redis_url: str
):
    target = tmp_path / "backup"
    await asyncio.to_thread(make_backup, own_redis_url, working.storage, target, with_files=False)
    job = working.jobs["running"]
    checkpoint = working.storage / f"runs/{job}/1/checkpoints/step-00000005"
    checkpoint.rename(checkpoint.with_name("step-00000009"))
    done = await asyncio.to_thread(restore, target, new_url, working.storage, may_be_incomplete=True)
    assert done.restarted == [job]
    assert done.missing == [f"runs/{job}/1/checkpoints/step-00000005/state.json is missing"]
    assert (await Store(new_redis).job(job)).checkpoint is None


async def test_files_are_those_that_records_stand_for(working: House, tmp_path: Path, own_redis_url: str):
    made = await asyncio.to_thread(make_backup, own_redis_url, working.storage, tmp_path / "backup", with_files=True)
    paths = {file.path for file in made.files}
    done, running = working.jobs["succeeded"], working.jobs["running"]
    assert {f"runs/{done}/1/artifacts/model.safetensors", f"runs/{done}/1/log.txt", "teachers/wise/1/manifest.json",
            f"runs/{running}/1/checkpoints/step-00000005/state.json"} < paths  # fmt: skip
    assert not [path for path in paths if "/train/" in path]
    assert len([path for path in paths if path.startswith("reports/study-")]) == 1
    copied = tmp_path / "backup/files"
    assert {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()} == paths
