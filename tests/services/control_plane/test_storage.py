"""What each team has on storage is measured by the hourly collection, and by nothing else."""

from datetime import timedelta
from pathlib import Path

import httpx
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.pool import StorageUsage
from distill.contracts.records import StudyRecord
from distill.contracts.study import StudySpec
from distill.contracts.wire import BookKey
from services.control_plane.retention import Known, KnownJob, Sort, Thing
from services.control_plane.storage import keep_storage, storage_by_team
from services.control_plane.store import Store
from tests.services.control_plane.records import JOB, MANIFEST, NOON, a_queued_job, a_teacher, a_version, at

OURS = a_queued_job("ours-abc234")
THEIRS = a_queued_job("theirs-abc234").model_copy(update={"team": "vision"})


def known(**changes: object) -> Known:
    """A job of each of two teams, and ``wise``, which is the first one's."""
    return Known(
        **(
            {"jobs": {one.id: KnownJob.of(one) for one in (OURS, THEIRS)}, "studies": {}, "teachers": [a_teacher()]}
            | changes
        )
    )


def a_thing(where: str, owner: str, size_bytes: int, sort: Sort = Sort.ORPHANS) -> Thing:
    return Thing(sort=sort, where=where, owner=owner, size_bytes=size_bytes, changed_at=NOON)


def test_bytes_are_the_teams_whose_record_a_folder_belongs_to_and_each_is_counted_once():
    things = [
        a_thing("runs/ours-abc234", "job/ours-abc234", 100),
        a_thing("runs/ours-abc234/1/checkpoints", "job/ours-abc234", 90, Sort.CHECKPOINTS),  # in the run's 100
        a_thing("reports/job-ours-abc234", "job/ours-abc234", 5),
        a_thing("runs/theirs-abc234", "job/theirs-abc234", 1000),
        a_thing("teachers/wise/1", "teacher/wise/1", 7),
        a_thing("answers/book", MANIFEST.digest, 30, Sort.ANSWERS),
        a_thing("runs/stranger", "job/stranger", 10**6),
        a_thing("answers/gone", "sha256:" + "9" * 64, 10**6, Sort.ANSWERS),
        a_thing("stillhouse:job:ours-abc234:events", "job/ours-abc234", 10**6, Sort.EVENTS),
    ]
    assert storage_by_team(known(), things, at=NOON) == {
        "default": StorageUsage(runs_bytes=100, reports_bytes=5, teachers_bytes=7, answers_bytes=30, measured_at=NOON),
        "vision": StorageUsage(runs_bytes=1000, measured_at=NOON),
    }


def test_answers_of_weights_that_two_teams_published_are_those_of_who_was_first():
    later = a_teacher(a_version(created_at=at(60)), name="copy", team="vision")
    first = a_teacher(team="text")
    for teachers in ([first, later], [later, first]):
        books = [a_thing("answers/book", MANIFEST.digest, 30, Sort.ANSWERS)]
        found = storage_by_team(known(teachers=teachers), books, at=NOON)
        assert {team: one.answers_bytes for team, one in found.items()} == {
            "default": 0, "text": 30, "vision": 0,
        }  # fmt: skip


def write(path: Path, num_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * num_bytes)


async def test_a_collection_measures_and_a_request_only_reads(
    api: httpx.AsyncClient, store: Store, redis: Redis, tmp_path: Path
):
    study = StudyRecord(
        id="s-abc234", spec=StudySpec.model_validate({"name": "s", "job": JOB}), jobs={"student": OURS.id},
        created_at=NOON, updated_at=NOON,
    )  # fmt: skip
    await store.create_jobs([OURS], study)
    await store.create_jobs([THEIRS])
    await store.create_teacher(a_teacher())
    write(tmp_path / names.attempt_folder(OURS.id, 1) / "checkpoints/step-1/model.safetensors", 1000)
    write(tmp_path / names.attempt_folder(OURS.id, 2) / "result.json", 50)
    write(tmp_path / names.attempt_folder(THEIRS.id, 1) / "log.txt", 3)
    write(tmp_path / names.report_folder("study", study.id) / "report.md", 20)
    write(tmp_path / names.teacher_folder("wise", 1) / "manifest.json", 9)
    key = BookKey(teacher=MANIFEST.digest, compute="fp32", members=(0,), precision="fp16").model_dump_json()
    write(tmp_path / "answers/book/a.safetensors", 70)
    (tmp_path / "answers/book" / names.BOOK_FILE).write_text(key)
    assert (await api.get("/v1/usage")).json()["storage"] is None
    assert (await api.post("/v1/gc", params={"dry_run": "true"})).is_success
    assert (await api.get("/v1/usage")).json()["storage"] is None  # a dry run changes nothing at all
    began = now()
    assert (await api.post("/v1/gc")).is_success
    write(tmp_path / names.attempt_folder(OURS.id, 3) / "log.txt", 10**6)
    usage = (await api.get("/v1/usage")).json()
    storage = StorageUsage.model_validate(usage["storage"])
    assert began <= storage.measured_at <= now()
    assert storage == StorageUsage(
        runs_bytes=1050,
        reports_bytes=20,
        teachers_bytes=9,
        answers_bytes=70 + len(key),
        measured_at=storage.measured_at,
    )
    assert storage.total_bytes == 1149 + len(key)
    everybody = (await api.get("/v1/usage/teams")).json()["items"]
    assert {one["team"]: one["storage"]["runs_bytes"] for one in everybody} == {"default": 1050, "vision": 3}
    long_ago = (await api.get("/v1/usage", params={"month": "2026-01"})).json()
    assert long_ago["storage"] is None


async def test_who_has_no_record_any_more_is_forgotten_and_a_month_that_is_over_keeps_its_last_word(redis: Redis):
    await keep_storage(redis, storage_by_team(known(), [], at=NOON), month="2026-11")
    december = storage_by_team(known(jobs={OURS.id: OURS}), [], at=NOON + timedelta(days=30))
    await keep_storage(redis, december, month="2026-12")
    assert await redis.hkeys(names.storage_key("2026-11")) == ["default", "vision"]
    await keep_storage(redis, december, month="2026-11")
    assert await redis.hkeys(names.storage_key("2026-11")) == ["default"]
    await keep_storage(redis, {}, month="2026-11")
    assert not await redis.exists(names.storage_key("2026-11"))
