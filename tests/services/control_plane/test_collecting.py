"""Garbage is collected: a dry run changes nothing, a crash leaves nothing half done, and what is needed again stays."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import InvalidSpec
from distill.contracts.records import Attempt, JobRecord, JobState
from distill.contracts.teachers import CheckedMember
from distill.contracts.wire import BookKey
from services.control_plane import collecting
from services.control_plane.collecting import Collector
from services.control_plane.inventory import survey
from services.control_plane.reservations import Reservations
from services.control_plane.retention import Policy, Sort
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from services.control_plane.views import Collected
from tests.services.control_plane.fakes import DOOR
from tests.services.control_plane.records import MANIFEST, a_queued_job, a_teacher, a_version
from tests.services.control_plane.test_api import submitted

POLICY = Policy(events=30, logs=30, checkpoints=30, artifacts=30, answers=30, orphans=30)
LONG_AGO = now() - timedelta(days=100)
PARTS = ("log.txt", "result.json", "predictions.json", "checkpoints/step-1/model.safetensors", "artifacts/model.json",
         "snapshots/epoch-1/model.json", "train/state.json")  # fmt: skip
KEPT = ("result.json", "predictions.json")


@pytest.fixture
def collector(store: Store, redis: Redis, tmp_path: Path) -> Collector:
    return Collector(store, redis, Reservations(redis, door=DOOR), storage=tmp_path, policy=POLICY)


def write(path: Path, text: str = "0123456789") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    make_old(path)


def make_old(path: Path) -> None:
    """As if it, and the folders that it lies in, had not been touched for long."""
    for one in (path, *path.parents[:5]):
        if one.stat().st_uid == os.getuid():
            os.utime(one, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))


def listing(folder: Path) -> dict[str, tuple[float, str]]:
    """Everything below, bit for bit, with its time."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def dump(redis: Redis) -> dict[str, Any]:
    """Everything in Redis, bit for bit."""
    keys = sorted([str(key) async for key in redis.scan_iter()])
    return {key: await redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys}


async def a_job(store: Store, storage: Path, identity: str, state: JobState = JobState.SUCCEEDED) -> JobRecord:
    """A job of long ago, with everything that it left, two events and its live figures."""
    job = a_queued_job(identity).model_copy(
        update={
            "state": state,
            "ended_at": LONG_AGO if state.is_final else None,
            "created_at": LONG_AGO,
            "attempts": (Attempt(number=1),),
        }
    )
    await store.create_jobs([job])
    redis = store._redis
    await redis.delete(names.events_key("job", identity))
    for number in range(3):
        stamp = f"{int(LONG_AGO.timestamp() * 1000)}-{number}"
        await redis.xadd(names.events_key("job", identity), {"event": "x"}, id=stamp)
        await redis.xadd(names.progress_key(identity), {"progress": "x"}, id=stamp)
    for part in PARTS:
        write(storage / names.attempt_folder(identity, 1) / part)
    return job


def sorts(done: Collected) -> list[str]:
    return sorted(f"{one.sort.value} {one.where}" for one in done.removed)


async def test_what_a_job_left_goes_and_its_record_and_result_stay(
    store: Store, redis: Redis, collector: Collector, tmp_path: Path
):
    await a_job(store, tmp_path, "one")
    done = await collector.collect(dry_run=False)
    assert sorts(done) == [
        "artifacts runs/one/1/artifacts",
        "artifacts runs/one/1/snapshots",
        "checkpoints runs/one/1/checkpoints",
        "checkpoints runs/one/1/train",
        "events stillhouse:job:one:events",
        "events stillhouse:job:one:progress",
        "logs runs/one/1/log.txt",
    ]
    assert done.freed_bytes == sum(one.size_bytes for one in done.removed) > 50
    assert files(tmp_path) == {f"runs/one/1/{part}" for part in KEPT}
    assert (await store.job("one")).state is JobState.SUCCEEDED
    assert [await redis.xlen(key) for key in (names.events_key("job", "one"), names.progress_key("one"))] == [1, 0]
    assert (await collector.collect(dry_run=False)).removed == []


async def test_what_has_not_ended_keeps_everything(store: Store, collector: Collector, tmp_path: Path, redis: Redis):
    for state in JobState:
        if not state.is_final:
            await a_job(store, tmp_path, f"job-{state.value.lower()}", state)
    before = listing(tmp_path), await dump(redis)
    assert (await collector.collect(dry_run=False)).removed == []
    await redis.delete(names.storage_key(f"{now():%Y-%m}"))  # what it measured on the way
    assert (listing(tmp_path), await dump(redis)) == before


async def test_a_dry_run_says_the_same_and_changes_nothing(
    store: Store, redis: Redis, collector: Collector, tmp_path: Path
):
    await a_job(store, tmp_path, "one")
    write(tmp_path / "runs/stranger/1/log.txt")
    before = listing(tmp_path), await dump(redis)
    would = await collector.collect(dry_run=True)
    assert (listing(tmp_path), await dump(redis)) == before
    done = await collector.collect(dry_run=False)
    assert (would.dry_run, would.removed, would.freed_bytes) == (True, done.removed, done.freed_bytes)
    assert set(would.orphans) == set(done.orphans) == {"runs/stranger"}


async def test_an_orphan_is_first_written_down_and_goes_later(redis: Redis, collector: Collector, tmp_path: Path):
    for where in ("runs/gone/1/log.txt", "reports/job-gone/report.md", "reports/study-gone/report.md",
                  "teachers/gone/1/manifest.json", "runs/.half-written/x", "cache/data"):  # fmt: skip
        write(tmp_path / where)
    first = await collector.collect(dry_run=False)
    assert first.removed == []
    assert set(first.orphans) == {"runs/gone", "reports/job-gone", "reports/study-gone", "teachers/gone/1"}
    await redis.hset(names.ORPHANS_KEY, mapping=dict.fromkeys(first.orphans, LONG_AGO.isoformat()))
    done = await collector.collect(dry_run=False)
    assert {one.where for one in done.removed} == set(first.orphans)
    assert files(tmp_path) == {"runs/.half-written/x", "cache/data"}
    await collector.collect(dry_run=False)
    assert not await redis.exists(names.ORPHANS_KEY)


async def test_answers_of_a_teacher_that_is_gone_go(store: Store, collector: Collector, tmp_path: Path):
    await store.create_teacher(a_teacher())
    for digest, name in ((MANIFEST.digest, "known"), ("sha256:" + "9" * 64, "gone")):
        key = BookKey(teacher=digest, compute="fp32", members=(0,), precision="fp16")
        write(tmp_path / "answers" / name / names.BOOK_FILE, key.model_dump_json())
        write(tmp_path / "answers" / name / "a.safetensors")
    write(tmp_path / "answers/unlabelled/a.safetensors")
    done = await collector.collect(dry_run=False)
    assert [one.where for one in done.removed] == ["answers/gone"]
    assert files(tmp_path / "answers") == {"known/book.json", "known/a.safetensors", "unlabelled/a.safetensors"}


@pytest.mark.parametrize("cut_at", range(10))
async def test_a_crash_in_the_middle_is_made_good_by_the_next_one(
    store: Store, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
):
    await a_job(store, tmp_path, "one")
    await a_job(store, tmp_path, "two", JobState.RUNNING)
    step = cut_after(cut_at)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", step(Path.rename))
        patch.setattr(collecting, "_delete", step(collecting._delete))
        with pytest.raises(PowerCut):
            await collector.collect(dry_run=False)
    assert {path for path in files(tmp_path) if path.startswith("runs/two")} == {f"runs/two/1/{part}" for part in PARTS}
    await collector.collect(dry_run=False)
    assert {path for path in files(tmp_path) if path.startswith("runs/one")} == {f"runs/one/1/{part}" for part in KEPT}


class PowerCut(BaseException):
    """The process ends here."""


def cut_after(count: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Wraps functions that together may be called so often."""
    left = [count]

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            if left[0] == 0:
                raise PowerCut
            left[0] -= 1
            return function(*args)

        return wrapped

    return wrap


async def test_what_was_put_aside_and_is_needed_again_gets_its_name_back(
    store: Store, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await a_job(store, tmp_path, "one")
    with monkeypatch.context() as patch:
        patch.setattr(collecting, "_delete", cut_after(0)(collecting._delete))
        with pytest.raises(PowerCut):
            await collector.collect(dry_run=False)
    assert not (tmp_path / "runs/one/1/artifacts").exists()
    await store.create_teacher(a_teacher(a_version(members=(CheckedMember(job="one"),))))
    await collector.collect(dry_run=False)
    assert files(tmp_path / "runs/one/1") == {
        *KEPT, "artifacts/model.json", "snapshots/epoch-1/model.json",
    }  # fmt: skip


async def test_what_is_taken_up_while_it_is_put_aside_stays(
    store: Store, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await a_job(store, tmp_path, "one")
    loop = asyncio.get_running_loop()
    put_aside = collecting._put_aside

    def and_somebody_publishes(storage: Path, things: Any) -> None:
        put_aside(storage, things)
        version = a_version(members=(CheckedMember(job="one"),))
        asyncio.run_coroutine_threadsafe(store.create_teacher(a_teacher(version)), loop).result(10)

    monkeypatch.setattr(collecting, "_put_aside", and_somebody_publishes)
    done = await collector.collect(dry_run=False)
    assert Sort.ARTIFACTS not in {one.sort for one in done.removed}
    assert (tmp_path / "runs/one/1/artifacts/model.json").exists()
    assert not (tmp_path / "runs/one/1/checkpoints").exists()


async def test_where_a_record_can_not_be_read_nothing_goes(
    store: Store, redis: Redis, collector: Collector, tmp_path: Path
):
    await a_job(store, tmp_path, "one")
    await a_job(store, tmp_path, "two")
    await redis.set(names.record_key("job", "two"), "{torn")
    before = listing(tmp_path)
    with pytest.raises(ValueError, match="JobRecord"):
        await collector.collect(dry_run=False)
    assert listing(tmp_path) == before


async def test_links_are_neither_followed_nor_removed(store: Store, collector: Collector, tmp_path: Path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    write(outside / "1/log.txt")
    await a_job(store, tmp_path, "one")
    (tmp_path / "runs/linked").symlink_to(outside)
    (tmp_path / "runs/one/2").symlink_to(outside / "1")
    done = await collector.collect(dry_run=False)
    assert "runs/one/1/log.txt" in {one.where for one in done.removed}
    assert not [one for one in done.removed if "linked" in one.where or "/2/" in one.where]
    assert done.orphans == {}
    assert files(outside) == {"1/log.txt"}


def test_an_empty_storage_has_nothing(tmp_path: Path):
    assert survey(tmp_path) == []


async def test_over_rest_it_says_what_went(api: httpx.AsyncClient, store: Store, tmp_path: Path):
    await a_job(store, tmp_path, "one")
    would = (await api.post("/v1/gc", params={"dry_run": "true"})).json()
    done = (await api.post("/v1/gc")).json()
    assert would["removed"] == done["removed"]
    assert {one["where"] for one in done["removed"]} == {
        "runs/one/1/checkpoints", "runs/one/1/train", "runs/one/1/log.txt",
        "stillhouse:job:one:events", "stillhouse:job:one:progress",
    }  # fmt: skip
    assert done["removed"][0]["why"].startswith("job one is SUCCEEDED, for 100.0 days")


async def test_weights_that_had_their_time_are_refused_at_submit(
    api: httpx.AsyncClient, store: Store, tmp_path: Path, collector: Collector
):
    await a_job(store, tmp_path, "one")
    student = {"source": "zoo", "name": "mlp", "init_from": {"source": "job", "job": "one"}}
    await collector.collect(dry_run=False)
    body = {"name": "digits", "dataset": {"source": "digits"}, "student": student}
    answer = await api.post("/v1/jobs", json=body)
    assert answer.status_code == 409
    assert "had their time" in answer.json()["detail"]
    assert await submitted(api)


async def test_once_an_hour_and_only_where_it_acts(collector: Collector, redis: Redis):
    ran: list[bool] = []

    async def collect(*, dry_run: bool) -> Collected:
        ran.append(dry_run)
        return Collected(dry_run=dry_run, removed=[], freed_bytes=0)

    collector.collect = collect  # type: ignore[method-assign]

    async def acts() -> bool:
        return True

    async def leaves_it_to_another() -> bool:
        return False

    await collector._collect_if_due(leaves_it_to_another)
    assert ran == []
    await collector._collect_if_due(acts)
    await collector._collect_if_due(acts)
    assert ran == [False]
    assert 0 < await redis.ttl(names.COLLECTED_KEY) <= 3600


ENVIRONMENT = {
    "STILLHOUSE_REDIS_URL": "redis://",
    "STILLHOUSE_STORAGE": "/x",
    "STILLHOUSE_RAY_DASHBOARD": "http://127.0.0.1:2",
}


def test_settings_say_for_how_long_each_sort_is_kept():
    asked = {
        "STILLHOUSE_KEEP_LOGS_DAYS": "0.5",
        "STILLHOUSE_KEEP_CHECKPOINTS_DAYS": "0",
        "STILLHOUSE_KEEP_EVENTS_DAYS": "",
    }
    kept = Settings.from_environment(ENVIRONMENT | asked).keep
    assert (kept.logs, kept.checkpoints, kept.events, kept.artifacts) == (0.5, None, 90, None)
    assert Settings.from_environment(ENVIRONMENT).keep == Policy()


@pytest.mark.parametrize("text", ["-1", "a week", "nan", "inf"])
def test_what_is_no_number_of_days_is_refused(text: str):
    with pytest.raises(InvalidSpec, match="STILLHOUSE_KEEP_LOGS_DAYS"):
        Settings.from_environment(ENVIRONMENT | {"STILLHOUSE_KEEP_LOGS_DAYS": text})
