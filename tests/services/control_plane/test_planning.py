"""A dry run: a submit's verdict, what would become of it, and nothing that stays."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.errors import UnknownTeacher
from distill.contracts.job import JobSpec
from distill.contracts.study import StudySpec
from distill.contracts.teams import TeamSpec
from services.control_plane.planning import deferred, foretell
from services.control_plane.plans import Plan
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.reconciler import Reconciler
from services.control_plane.store import Store, reused_by
from services.control_plane.submit import Submission
from services.control_plane.teams import Teams
from tests.services.control_plane.fakes import FakeRay
from tests.services.control_plane.records import MANIFEST, TAUGHT, a_queued_job, a_taught_job, a_teacher, a_version
from tests.services.control_plane.test_studies import BOTH


@pytest.fixture(autouse=True)
async def teacher(store: Store) -> None:
    """Every job here may have one."""
    await store.create_teacher(a_teacher())


async def plan(
    store: Store, reconciler: Reconciler, tmp_path: Path, spec: dict[str, Any], team: str = "default"
) -> Plan:
    """As the routes make it."""
    submission = Submission(store, team=team, data_root=tmp_path, storage=tmp_path, room=await reconciler.resources())
    if "job" in spec:
        study, jobs = await submission.study(StudySpec.model_validate(spec))
        reused = dict(reused_by(study, jobs))
    else:
        jobs, reused = [await submission.job(JobSpec.model_validate(spec))], {}
    return await foretell(jobs, store, reconciler, reused=reused, team=team)


async def test_a_job_that_fits_would_start_at_once_with_its_teacher(
    store: Store, reconciler: Reconciler, tmp_path: Path
):
    job = (await plan(store, reconciler, tmp_path, TAUGHT)).jobs["student"]
    assert (job.place.starts, job.place.position, job.place.num_waiting) == (True, None, 0)
    (wise,) = job.teachers
    assert (wise.reference, wise.members, wise.replicas, wise.replicas_there) == ("wise@1", 3, 1, 0)
    assert wise.rows_per_s == MANIFEST.rows_per_s == job.rows_per_s
    assert wise.weights_bytes == MANIFEST.size.bytes


async def test_memory_grows_with_the_batch_from_what_was_measured(
    store: Store, reconciler: Reconciler, tmp_path: Path, redis: Redis
):
    size = MANIFEST.size.model_copy(update={"bytes": 1000, "peak_memory_bytes": 640})
    known = a_teacher(a_version(manifest=MANIFEST.model_copy(update={"size": size})))
    await redis.set(names.record_key("teacher", "wise"), known.model_dump_json())
    job = (await plan(store, reconciler, tmp_path, TAUGHT)).jobs["student"]
    assert known.versions[0].resources.max_batch_rows == 1024
    assert job.teachers[0].memory_bytes == 1000 + 16 * 640


async def test_a_job_that_does_not_fit_would_wait_and_says_for_what_and_where(
    store: Store, reconciler: Reconciler, ray: FakeRay, tmp_path: Path
):
    await store.create_jobs([a_queued_job(f"one-{n}") for n in range(6)])
    await reconciler.round()
    assert len(ray.jobs) == 4
    place = (await plan(store, reconciler, tmp_path, TAUGHT)).jobs["student"].place
    assert (place.starts, place.position, place.num_waiting) == (False, 3, 3)
    assert place.reason is not None
    assert place.reason.text.startswith("3rd of 3 in the queue; waiting for ")


async def test_replicas_that_are_there_are_not_started_again(
    store: Store, reconciler: Reconciler, ray: FakeRay, tmp_path: Path
):
    await ray.put_applications(
        {"applications": [{"name": names.application("wise", 1), "deployments": [{"num_replicas": 2}]}]}
    )
    (wise,) = (await plan(store, reconciler, tmp_path, TAUGHT)).jobs["student"].teachers
    assert wise.replicas_there == 2


async def test_quotas_say_what_is_used_and_what_all_jobs_of_the_plan_would_take(
    store: Store, reconciler: Reconciler, redis: Redis, tmp_path: Path
):
    granted = TeamSpec(max_jobs=2, max_workers=8, max_teacher_rows_per_month=1000)
    await Teams(redis).grant("default", granted)
    await store.create_jobs([a_queued_job("one")])
    await reconciler.round()
    quotas = {one.what: one for one in (await plan(store, reconciler, tmp_path, BOTH)).quotas}
    assert [quotas[what].used for what in ("jobs", "workers")] == [1, 1]
    assert (quotas["jobs"].granted, quotas["jobs"].needed, quotas["workers"].needed) == (2, 8, 8)
    assert (quotas["rows_per_month"].used, quotas["rows_per_month"].needed) == (0, None)
    assert "gpus" not in quotas


async def test_a_study_that_finds_its_baseline_there_would_reuse_it(
    store: Store, reconciler: Reconciler, tmp_path: Path
):
    spec = {"name": "both", "job": TAUGHT}
    submission = Submission(store, team="default", data_root=tmp_path, storage=tmp_path, room=None)
    study, jobs = await submission.study(StudySpec.model_validate(spec))
    await store.create_jobs(jobs, study)
    found = await plan(store, reconciler, tmp_path, spec)
    assert set(found.jobs) == {"student"}
    assert found.reused == {"baseline": study.jobs["baseline"]}


async def test_a_generation_waits_for_the_one_before_it(store: Store, reconciler: Reconciler, tmp_path: Path):
    found = await plan(store, reconciler, tmp_path, {"name": "again", "job": TAUGHT, "generations": 2})
    later = next(job for key, job in found.jobs.items() if not job.place.starts and job.place.position is None)
    assert later.place.reason is not None
    assert later.place.reason.code == "waiting_for_generation"


async def test_where_ray_is_silent_nothing_is_promised(
    store: Store, reconciler: Reconciler, ray: FakeRay, tmp_path: Path
):
    ray.total = ClusterResources()
    place = (await plan(store, reconciler, tmp_path, TAUGHT)).jobs["student"].place
    assert place.reason is not None
    assert (place.starts, place.reason.code) == (False, "waiting_for_cluster")


@pytest.mark.parametrize(
    ("path", "spec"),
    [
        ("jobs", TAUGHT | {"teachers": [{"name": "nobody@1"}]}),
        ("jobs", TAUGHT | {"training": {"epochs": 0}}),
        ("jobs", TAUGHT | {"student": {"source": "zoo", "name": "mlp", "init_from": {"job": "never-made"}}}),
        ("studies", {"name": "both", "job": TAUGHT | {"teachers": [{"name": "nobody@1"}]}}),
    ],
)
async def test_what_a_submit_refuses_is_refused_with_the_same_words(
    api: httpx.AsyncClient, path: str, spec: dict[str, Any]
):
    planned, submitted = await api.post(f"/v1/{path}/plan", json=spec), await api.post(f"/v1/{path}", json=spec)
    assert planned.status_code == submitted.status_code == 422
    assert planned.json() == submitted.json()


@pytest.mark.parametrize(("path", "spec"), [("jobs", TAUGHT), ("studies", {"name": "both", "job": TAUGHT})])
async def test_nothing_is_stored(api: httpx.AsyncClient, redis: Redis, path: str, spec: dict[str, Any]):
    answer = await api.post(f"/v1/{path}/plan", json=spec)
    assert answer.status_code == 200, answer.text
    assert Plan.model_validate(answer.json()).jobs
    assert await redis.keys("stillhouse:job*") == await redis.keys("stillhouse:stud*") == []


async def test_another_teams_hidden_teacher_is_not_there_for_a_plan_either(
    store: Store, reconciler: Reconciler, tmp_path: Path, redis: Redis
):
    hidden = a_teacher().model_copy(update={"visibility": "team"})
    await redis.set(names.record_key("teacher", "wise"), hidden.model_dump_json())
    with pytest.raises(UnknownTeacher, match="there is no teacher 'wise@prod'"):
        await plan(store, reconciler, tmp_path, TAUGHT, team="others")


def test_what_only_the_attempt_can_tell_is_named_by_field():
    told = list(deferred(a_taught_job("one")))
    assert any(line.startswith("dataset: ") for line in told)
    assert "teachers.0.name: whether wise@1 takes rows of the data's shape" in told
    assert any(line.startswith("student: ") for line in told)
