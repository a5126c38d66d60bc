"""Born-again generations: a student is published when it has ended, and becomes the teacher of the next."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from distill.contracts.base import now
from distill.contracts.errors import Problem
from distill.contracts.facts import AttemptClaimed, GenerationMissing, GenerationReady, VersionChecked, VersionRejected
from distill.contracts.records import JobRecord, JobState, Outcome
from distill.contracts.study import StudySpec
from distill.contracts.teachers import CheckedMember, TeacherVersionState
from services.control_plane.generations import Publish, Say, decide_generation
from services.control_plane.reconciler import Reconciler
from services.control_plane.store import Store
from services.control_plane.submit import Submission
from tests.services.control_plane.fakes import FakeRay, a_reconciler
from tests.services.control_plane.records import (
    JOB,
    MANIFEST,
    NOON,
    TAUGHT,
    a_queued_job,
    a_teacher,
    a_version,
    after,
)
from tests.services.control_plane.test_api import ended

SOFT = [{"kind": "labels", "weight": 0.1}, {"kind": "soft_targets", "weight": 0.9}]
FIRST = "s-abc234-student-g1"


def a_later_job(**changes: Any) -> JobRecord:
    """The second generation of the study ``s-abc234``, before its teacher is there."""
    job = a_queued_job(
        "s-abc234-student-g2", **({"teachers": [{"name": "s-abc234@student-g1"}], "objective": SOFT} | changes)
    )
    return job.model_copy(update={"role": "student-g2", "study": "s-abc234", "after": FIRST})


def a_first_job(state: JobState = JobState.SUCCEEDED) -> JobRecord:
    """The generation before it."""
    return a_queued_job(FIRST).model_copy(update={"role": "student-g1", "study": "s-abc234", "state": state})


def its_version(state: TeacherVersionState = TeacherVersionState.READY, **changes: Any) -> Any:
    return a_version(state=state, members=(CheckedMember(folder="x", job=FIRST),), alias="student-g1", **changes)


def test_a_generation_waits_until_the_one_before_has_ended_and_is_checked():
    waits = decide_generation(a_later_job(), a_first_job(JobState.RUNNING), None, at=NOON)
    assert waits == Say(f"waiting for student-g1 ({FIRST}), whose student is to teach it")
    assert decide_generation(a_later_job(), a_first_job(), None, at=NOON) == Publish()
    checking = its_version(TeacherVersionState.CHECKING)
    assert isinstance(decide_generation(a_later_job(), a_first_job(), checking, at=NOON), Say)


def test_a_published_generation_is_the_only_teacher_of_the_next():
    ready = decide_generation(a_later_job(), a_first_job(), its_version(), at=NOON)
    assert isinstance(ready, GenerationReady)
    taught = after(a_later_job(), ready)
    assert [teacher.digest for teacher in taught.teachers] == [MANIFEST.digest]
    assert (taught.state, taught.reason.code, taught.awaits_generation) == (JobState.QUEUED, "queued", False)
    assert after(taught, ready) is taught


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_generation_ends_as_the_one_before_did_and_names_it(state: JobState):
    missing = decide_generation(a_later_job(), a_first_job(state), None, at=NOON)
    job = after(a_later_job(), missing)
    assert (job.state, job.ended_at, job.reason.code) == (state, NOON, "generation_lost")
    assert FIRST in job.reason.text
    assert state.value in job.reason.text


def test_a_generation_whose_teacher_is_rejected_fails_with_the_reason():
    torn = its_version(TeacherVersionState.REJECTED, problem=Problem(code="invalid_weights", message="it is torn"))
    job = after(a_later_job(), decide_generation(a_later_job(), a_first_job(), torn, at=NOON))
    assert job.state is JobState.FAILED
    assert "as s-abc234@1 it was rejected: it is torn" in job.reason.text


def test_what_only_the_published_student_shows_is_checked_when_it_is_there():
    hint = {"kind": "hint", "weight": 1.0, "pairs": [{"student": "stages.0", "teacher": "stages.7"}]}
    missing = decide_generation(a_later_job(objective=[*SOFT, hint]), a_first_job(), its_version(), at=NOON)
    assert isinstance(missing, GenerationMissing)
    assert (missing.problem.code, missing.problem.field) == ("invalid_spec", "objective.2.pairs.0.teacher")


def test_nobody_can_claim_an_attempt_of_a_job_without_its_teacher():
    waiting = a_later_job()
    assert after(waiting, AttemptClaimed(attempt=1, at=NOON)) is waiting


def test_a_job_that_waits_for_no_generation_is_not_given_one():
    plain = a_queued_job()
    assert after(plain, GenerationMissing(problem=Problem(code="x", message="y"), at=NOON)) is plain


@pytest.fixture
async def study(store: Store, tmp_path: Path) -> str:
    """Three generations of a job that labels teach at first."""
    spec = StudySpec.model_validate({"name": "again", "job": JOB, "generations": 3, "later_objective": SOFT})
    made, jobs = await Submission(store, team="default", data_root=tmp_path, storage=tmp_path, room=None).study(spec)
    await store.create_jobs(jobs, made)
    return made.id


async def states(store: Store, study: str) -> list[JobState]:
    return [job.state for job in (await store.children(await store.study(study))).values()]


async def test_only_the_first_generation_starts_and_the_others_say_what_they_wait_for(
    store: Store, reconciler: Reconciler, ray: FakeRay, study: str
):
    await reconciler.round()
    assert set(ray.jobs) == {f"{study}-student-g1-1"}
    third = await store.job(f"{study}-student-g3")
    assert (third.reason.code, third.after) == ("waiting_for_generation", f"{study}-student-g2")
    assert f"student-g2 ({study}-student-g2)" in third.reason.text


async def test_each_generation_is_published_checked_and_teaches_the_next(
    store: Store, reconciler: Reconciler, ray: FakeRay, study: str
):
    await ended(store, f"{study}-student-g1")
    await reconciler.round()
    await reconciler.round()
    (version,) = (await store.teacher(study)).versions
    assert [member.job for member in version.members] == [f"{study}-student-g1"]
    assert f"check-{study}-1" in ray.jobs
    assert f"{study}-student-g2-1" not in ray.jobs
    manifest = MANIFEST.model_copy(update={"teacher": study})
    await store.append("teacher", study, VersionChecked(version=1, manifest=manifest, at=now()))
    await reconciler.round()
    second = await store.job(f"{study}-student-g2")
    assert [teacher.reference for teacher in second.teachers] == [f"{study}@1"]
    assert f"{study}-student-g2-1" in ray.jobs
    assert (await store.teacher(study)).aliases == {"student-g1": 1}
    assert (await store.job(f"{study}-student-g3")).awaits_generation


async def test_another_teams_teacher_of_the_same_name_is_never_given_the_generations(
    store: Store, reconciler: Reconciler, study: str
):
    theirs = a_teacher().model_copy(update={"name": study, "team": "others", "visibility": "team"})
    await store.create_teacher(theirs)
    await ended(store, f"{study}-student-g1")
    await reconciler.round()
    second = await store.job(f"{study}-student-g2")
    assert (second.state, second.reason.code) == (JobState.FAILED, "generation_lost")
    assert "another team has a teacher of that name" in second.reason.text
    assert len((await store.teacher(study)).versions) == len(theirs.versions)


async def test_a_control_plane_that_comes_later_goes_on_where_the_last_one_was_killed(
    store: Store, redis: Redis, reconciler: Reconciler, ray: Any, tmp_path: Path, study: str
):
    await ended(store, f"{study}-student-g1")
    await reconciler.round()
    await reconciler.give_up_lease()
    second = a_reconciler(redis, ray, tmp_path)
    await second.round()
    manifest = MANIFEST.model_copy(update={"teacher": study})
    await store.append("teacher", study, VersionChecked(version=1, manifest=manifest, at=now()))
    await second.give_up_lease()
    await a_reconciler(redis, ray, tmp_path).round()
    assert len((await store.teacher(study)).versions) == 1
    assert (await store.job(f"{study}-student-g2")).state is JobState.STARTING


async def test_generations_after_one_that_failed_fail_one_after_the_other(
    store: Store, reconciler: Reconciler, study: str
):
    diverged = Problem(code="training_diverged", message="the loss is NaN")
    await ended(store, f"{study}-student-g1", Outcome.FAILED, problem=diverged)
    await reconciler.round()
    await reconciler.round()
    assert await states(store, study) == [JobState.FAILED] * 3
    second, third = await store.job(f"{study}-student-g2"), await store.job(f"{study}-student-g3")
    assert "the loss is NaN" in second.reason.text
    assert f"{study}-student-g2" in third.reason.text


async def test_a_rejected_generation_fails_the_next(store: Store, reconciler: Reconciler, study: str):
    await ended(store, f"{study}-student-g1")
    await reconciler.round()
    torn = Problem(code="invalid_weights", message="the weights file is torn")
    await store.append("teacher", study, VersionRejected(version=1, problem=torn, at=now()))
    await reconciler.round()
    assert "the weights file is torn" in (await store.job(f"{study}-student-g2")).reason.text


async def test_two_lines_of_generations_publish_versions_of_one_teacher(
    store: Store, reconciler: Reconciler, tmp_path: Path
):
    body = {"name": "again", "job": JOB, "generations": 2, "later_objective": SOFT, "seeds": [1, 2]}
    made, jobs = await Submission(store, team="default", data_root=tmp_path, storage=tmp_path, room=None).study(
        StudySpec.model_validate(body)
    )
    await store.create_jobs(jobs, made)
    for seed in (1, 2):
        await ended(store, f"{made.id}-student-s{seed}-g1")
    await reconciler.round()
    await reconciler.round()
    versions = (await store.teacher(made.id)).versions
    assert [(one.version, one.alias) for one in versions] == [(1, "student-s1-g1"), (2, "student-s2-g1")]


async def test_a_first_generation_with_teachers_has_them_at_once(store: Store, tmp_path: Path):
    await store.create_teacher(a_teacher())
    body = {"name": "again", "job": TAUGHT, "generations": 2}
    _, jobs = await Submission(store, team="default", data_root=tmp_path, storage=tmp_path, room=None).study(
        StudySpec.model_validate(body)
    )
    teachers = {job.role: [teacher.reference for teacher in job.teachers] for job in jobs}
    assert teachers == {"student-g1": ["wise@1"], "student-g2": [], "baseline": []}
    assert {job.role: job.awaits_generation for job in jobs}["student-g2"]
