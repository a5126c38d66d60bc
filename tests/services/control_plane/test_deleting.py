"""What has ended, and what nothing refers to, can be deleted: at once out of every list, then out of storage."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import Conflict
from distill.contracts.facts import AttemptClaimed, CancelAsked, PhaseReached, StudyReported
from distill.contracts.records import JobRecord, Phase, StudyRecord
from distill.contracts.study import StudySpec
from distill.contracts.teachers import CheckedMember
from distill.journal.client import open_redis
from distill.journal.journal import append_fact
from services.control_plane import deleting
from services.control_plane.deleting import REPORT_PATIENCE_S, Deletion, users_of
from services.control_plane.lease import Lease
from services.control_plane.lists import lists_of, place_of
from services.control_plane.ray_rest import RayJob, RayJobState
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from services.control_plane.strays import Strays
from tests.services.control_plane.fakes import FakeRay
from tests.services.control_plane.records import NOON, TAUGHT, a_queued_job, a_teacher, a_version, said

JOB = "digits-abc234"
KINDS: tuple[names.Kind, ...] = ("job", "study")
LABELS = {"owner": "ada lovelace", "run": "1: the second, ü"}


async def an_ended_job(
    store: Store, identity: str = JOB, *, labels: Mapping[str, str] | None = None, **changes: Any
) -> JobRecord:
    """A cancelled one; ``changes`` are of its record."""
    await store.create_jobs([a_queued_job(identity, labels=labels or {}).model_copy(update=changes)])
    await store.append("job", identity, CancelAsked(at=NOON))
    return await store.job(identity)


def a_study(*jobs: str, identity: str = "s-abc234") -> StudyRecord:
    spec = StudySpec.model_validate({"name": "s", "job": TAUGHT})
    children = dict(zip(("student", "baseline"), jobs, strict=False))
    return StudyRecord(id=identity, spec=spec, jobs=children, created_at=NOON, updated_at=NOON)


async def lists_with(redis: Redis, record: JobRecord | StudyRecord) -> list[str]:
    """The keys of all lists that a record is in."""
    lists = [key for kind in KINDS for key in await redis.keys(names.list_key(kind, "*"))]
    return sorted([key for key in lists if await redis.zscore(key, place_of(record)) is not None])


def with_files(storage: Path, job: str) -> list[Path]:
    """The folders that such a job leaves."""
    folders = [storage / names.attempt_folder(job, 1) / "checkpoints", storage / names.report_folder("job", job)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    return folders


@pytest.mark.usefixtures("another_acts")
async def test_a_deleted_job_is_in_no_list_and_leaves_no_key_and_no_file(
    api: httpx.AsyncClient, store: Store, redis: Redis, settings: Settings
):
    kept = await an_ended_job(store, "kept-abc234", labels=LABELS)
    deleted = await an_ended_job(store, reuse_digest="sha256:" + "1" * 64, labels=LABELS)
    assert await lists_with(redis, deleted) == sorted(lists_of(deleted))
    folders = with_files(settings.node.storage, JOB)
    assert (await api.delete(f"/v1/jobs/{JOB}")).status_code == 204
    assert (await api.get(f"/v1/jobs/{JOB}")).status_code == 404
    for narrowed in ({}, {"state": "CANCELLED"}, {"label": ["owner=ada lovelace", "run=1: the second, ü"]}):
        shown = (await api.get("/v1/jobs", params=narrowed)).json()
        assert [job["id"] for job in shown["items"]] == [kept.id], narrowed
    assert await lists_with(redis, deleted) == []
    assert await lists_with(redis, kept) == sorted(lists_of(kept))
    assert [key for key in await redis.keys("*") if JOB in key] == []
    assert await redis.hgetall(names.baselines_key("default")) == {}
    await Deletion(store, redis).sweep(settings.node.storage)
    assert [folder for folder in folders if folder.exists()] == []
    assert await redis.smembers(names.DELETED_KEY) == set()
    assert (await api.delete(f"/v1/jobs/{JOB}")).status_code == 404


async def test_what_has_not_ended_is_not_deleted(api: httpx.AsyncClient, store: Store):
    await store.create_jobs([a_queued_job(JOB)])
    answer = await api.delete(f"/v1/jobs/{JOB}")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "cancel it first" in answer.json()["detail"]
    assert (await store.job(JOB)).id == JOB


@pytest.mark.usefixtures("another_acts")
async def test_a_job_of_a_study_goes_with_the_study(api: httpx.AsyncClient, store: Store, redis: Redis):
    jobs = [a_queued_job(f"s-abc234-{role}").model_copy(update={"study": "s-abc234"}) for role in ("a", "b")]
    study = a_study(*(job.id for job in jobs))
    await store.create_jobs(jobs, study)
    assert [await lists_with(redis, one) for one in (study, *jobs)] == [sorted(lists_of(one)) for one in (study, *jobs)]
    for job in jobs:
        await store.append("job", job.id, CancelAsked(at=now()))
    refused = await api.delete(f"/v1/jobs/{jobs[0].id}")
    assert "delete the study" in refused.json()["detail"]
    assert "report" in (await api.delete("/v1/studies/s-abc234")).json()["detail"]
    await store.append("study", "s-abc234", StudyReported(report="reports/study-s-abc234", at=NOON))
    assert (await api.delete("/v1/studies/s-abc234")).status_code == 204
    assert (await api.get("/v1/studies/s-abc234")).status_code == 404
    assert [key for key in await redis.keys("*") if "s-abc234" in key] == []
    assert (await api.get("/v1/jobs")).json()["items"] == []
    assert [await lists_with(redis, one) for one in (study, *jobs)] == [[], [], []]


@pytest.mark.usefixtures("another_acts")
async def test_a_study_whose_jobs_went_while_it_was_read_is_not_there(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    """Its record is read, then those of its jobs; it may be deleted in between."""
    for study in ("s-abc234", "t-abc234"):
        job = a_queued_job(f"{study}-a").model_copy(update={"study": study})
        await store.create_jobs([job], a_study(job.id, identity=study))
    await redis.delete(names.record_key("job", "s-abc234-a"))
    shown = await api.get("/v1/studies")
    assert [one["study"]["id"] for one in shown.json()["items"]] == ["t-abc234"]
    gone = await api.get("/v1/studies/s-abc234")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


async def test_what_others_need_is_kept_and_the_answer_names_them(api: httpx.AsyncClient, store: Store):
    await an_ended_job(store)
    member = CheckedMember(folder="x", job=JOB)
    await store.create_teacher(a_teacher(a_version(members=(member,))))
    await store.create_jobs([a_queued_job("next-abc234").model_copy(update={"after": JOB})])
    answer = await api.delete(f"/v1/jobs/{JOB}")
    assert answer.status_code == 409
    assert answer.json()["got"] == "teacher wise@1, job next-abc234"


def test_a_job_is_needed_by_who_begins_from_it_and_by_studies_that_reuse_it():
    ended = a_queued_job(JOB)
    student = {"source": "zoo", "name": "mlp", "init_from": {"source": "job", "job": JOB}}
    begins = a_queued_job("begins-abc234", student=student)
    study = a_study("other-abc234", JOB)
    found = users_of(ended, teachers=[], jobs=[begins, a_queued_job("other-abc234")], studies=[study])
    assert list(found) == ["job begins-abc234", "study s-abc234"]


async def test_a_record_that_changes_at_this_very_moment_stays(store: Store, redis: Redis):
    await an_ended_job(store)

    class Overtaken(Store):
        """Somebody's word is applied after the record was read."""

        async def job(self, identity: str) -> JobRecord:
            read = await super().job(identity)
            await self.append("job", identity, AttemptClaimed(attempt=1, at=NOON))
            return read

    with pytest.raises(Conflict, match="at this very moment"):
        await Deletion(Overtaken(redis), redis).job(JOB)
    assert (await store.job(JOB)).id == JOB


async def test_a_worker_of_a_deleted_job_leaves_nothing_in_redis(
    store: Store, redis: Redis, own_redis_url: str, tmp_path: Path
):
    await an_ended_job(store)
    await Deletion(store, redis).job(JOB)
    with open_redis(own_redis_url) as its_redis:
        append_fact(its_redis, "job", JOB, said(PhaseReached(attempt=1, phase=Phase.STARTED, at=now()), 1))
    await store.apply_pending("job", JOB)
    assert [key for key in await redis.keys("*") if JOB in key] == []


@pytest.mark.usefixtures("another_acts")
async def test_a_study_whose_report_can_not_be_written_is_deleted_some_time_after_its_end(
    api: httpx.AsyncClient, store: Store
):
    job = a_queued_job("s-abc234-student").model_copy(update={"study": "s-abc234"})
    await store.create_jobs([job, a_queued_job("other-abc234")], a_study(job.id, "other-abc234"))
    await store.append("job", job.id, CancelAsked(at=now() - timedelta(seconds=REPORT_PATIENCE_S + 60)))
    refused = await api.delete("/v1/studies/s-abc234")  # a job that it reuses goes on, and the report waits for that
    assert "10 minutes after" in refused.json()["detail"]
    await store.append("job", "other-abc234", CancelAsked(at=now() - timedelta(seconds=REPORT_PATIENCE_S + 60)))
    assert (await api.delete("/v1/studies/s-abc234")).status_code == 204


async def test_files_that_can_not_be_removed_hold_up_no_others(
    store: Store, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for identity in ("a-stuck", "b-fine"):
        await an_ended_job(store, identity)
        with_files(tmp_path, identity)
        await Deletion(store, redis).job(identity)
    remove = deleting._remove_files

    def stuck(storage: Path, entry: str) -> None:
        if entry == "job/a-stuck":
            raise PermissionError("an immutable file")
        remove(storage, entry)

    monkeypatch.setattr(deleting, "_remove_files", stuck)
    await Deletion(store, redis).sweep(tmp_path)
    assert await redis.smembers(names.DELETED_KEY) == {"job/a-stuck"}
    assert not (tmp_path / names.run_folder("b-fine")).exists()


async def test_a_driver_of_a_deleted_job_is_stopped_and_its_files_stay_until_it_is_gone(
    store: Store, redis: Redis, tmp_path: Path, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.control_plane.strays.PATIENCE_S", 0.0)
    await an_ended_job(store)
    folders = with_files(tmp_path, JOB)
    ray.jobs[f"{JOB}-1"] = RayJob(RayJobState.RUNNING)
    deletion = Deletion(store, redis, drivers=ray.drivers)
    await deletion.job(JOB)
    await deletion.sweep(tmp_path)
    assert all(folder.exists() for folder in folders)
    await Strays(store, ray, Lease(redis), deletion).tend()  # type: ignore[arg-type]
    assert ray.jobs[f"{JOB}-1"].state is RayJobState.STOPPED
    await deletion.sweep(tmp_path)
    assert [folder for folder in folders if folder.exists()] == []
    assert await redis.smembers(names.DELETED_KEY) == set()


async def test_nothing_is_deleted_while_a_record_that_may_refer_to_it_can_not_be_read(store: Store, redis: Redis):
    await an_ended_job(store)
    await store.create_teacher(a_teacher(a_version(members=(CheckedMember(folder="x", job=JOB),))))
    await redis.set(names.record_key("teacher", "wise"), "{torn")
    with pytest.raises(ValidationError):
        await Deletion(store, redis).job(JOB)
    assert (await store.job(JOB)).id == JOB
