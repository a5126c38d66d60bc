"""What may go: nothing that something refers to, whatever the records and however old."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.contracts.records import JobRecord, JobState, StudyRecord
from distill.contracts.study import StudySpec
from distill.contracts.teachers import CheckedMember, TeacherRecord, TeacherVersionState
from services.control_plane.retention import Known, KnownJob, KnownStudy, Policy, Sort, Thing, begins_from, plan
from tests.services.control_plane.records import (
    JOB,
    MANIFEST,
    NOON,
    TAUGHT,
    WISE,
    a_queued_job,
    a_taught_job,
    a_teacher,
    a_version,
)

DAY = timedelta(days=1)
POLICY = Policy(events=30, logs=30, checkpoints=30, artifacts=30, answers=30, orphans=30)
LATE = NOON + 31 * DAY


def ended(job: JobRecord, state: JobState = JobState.SUCCEEDED) -> JobRecord:
    return job.model_copy(update={"state": state, "ended_at": NOON})


def known(*jobs: JobRecord, studies: Sequence[StudyRecord] = (), **more: Any) -> Known:
    of_jobs = {job.id: KnownJob.of(job) for job in jobs}
    of_studies = {study.id: KnownStudy.of(study) for study in studies}
    return Known(**({"jobs": of_jobs, "studies": of_studies, "teachers": ()} | more))


def a_thing(sort: Sort, owner: str, where: str = "somewhere", changed_at: datetime = NOON) -> Thing:
    return Thing(sort=sort, where=where, owner=owner, size_bytes=10, changed_at=changed_at)


def goes(thing: Thing, among: Known, *, now: datetime = LATE, policy: Policy = POLICY) -> bool:
    return [one.thing for one in plan(among, [thing], policy, now).going] == [thing]


def a_study(*jobs: str, report: str | None = None) -> StudyRecord:
    spec = StudySpec.model_validate({"name": "s", "job": TAUGHT})
    keyed = {f"child-{number}": job for number, job in enumerate(jobs)}
    return StudyRecord(id="s-abc234", spec=spec, jobs=keyed, report=report, created_at=NOON, updated_at=NOON)


PARTS = (Sort.EVENTS, Sort.LOGS, Sort.CHECKPOINTS, Sort.ARTIFACTS)


@pytest.mark.parametrize(("sort", "state"), list(product(PARTS, JobState)))
def test_what_a_job_left_goes_when_its_time_is_over_and_not_before_it_has_ended(sort: Sort, state: JobState):
    job = a_queued_job("one").model_copy(update={"state": state, "ended_at": NOON if state.is_final else None})
    assert goes(a_thing(sort, "job/one"), known(job)) == state.is_final
    assert not goes(a_thing(sort, "job/one"), known(job), now=NOON + 30 * DAY)


@pytest.mark.parametrize("sort", PARTS)
def test_none_is_for_ever(sort: Sort):
    policy = POLICY.model_copy(update={sort.value: None})
    assert not goes(a_thing(sort, "job/one"), known(ended(a_queued_job("one"))), now=NOON + 10_000 * DAY, policy=policy)


@pytest.mark.parametrize("sort", PARTS)
def test_what_changed_lately_stays_however_long_ago_its_job_ended(sort: Sort):
    thing = a_thing(sort, "job/one", changed_at=LATE - DAY)
    assert not goes(thing, known(ended(a_queued_job("one"))))


def test_the_reason_says_how_long_and_why():
    (one,) = plan(known(ended(a_queued_job("one"))), [a_thing(Sort.LOGS, "job/one")], POLICY, LATE).going
    assert one.why == "job one is SUCCEEDED, for 31.0 days; logs are kept for 30"


def test_artifacts_stay_while_a_version_of_a_teacher_is_made_of_them():
    for state in TeacherVersionState:
        version = a_version(members=(CheckedMember(folder="runs/one/1/artifacts", job="one"),), state=state)
        among = known(ended(a_queued_job("one")), teachers=(a_teacher(version),))
        assert not goes(a_thing(Sort.ARTIFACTS, "job/one"), among)
        assert goes(a_thing(Sort.CHECKPOINTS, "job/one"), among)


def test_artifacts_stay_while_a_job_begins_from_them():
    student = JOB["student"] | {"init_from": {"source": "job", "job": "one"}}
    assert not goes(
        a_thing(Sort.ARTIFACTS, "job/one"), known(ended(a_queued_job("one")), a_queued_job("two", student=student))
    )


def test_artifacts_stay_while_a_job_awaits_them():
    waiting = a_queued_job("two").model_copy(update={"after": "one"})
    assert not goes(a_thing(Sort.ARTIFACTS, "job/one"), known(ended(a_queued_job("one")), waiting))


def test_artifacts_stay_while_a_study_may_take_the_job_for_its_baseline():
    job = ended(a_queued_job("one"))
    assert not goes(a_thing(Sort.ARTIFACTS, "job/one"), known(job, reusable=frozenset({"one"})))
    assert goes(a_thing(Sort.ARTIFACTS, "job/one"), known(job, reusable=frozenset({"another"})))


@pytest.mark.parametrize("sort", PARTS)
def test_everything_stays_while_a_report_is_still_to_be_made_of_it(sort: Sort):
    job = ended(a_queued_job("one"))
    assert not goes(a_thing(sort, "job/one"), known(job, studies=[a_study("one", "two")]))
    assert goes(a_thing(sort, "job/one"), known(job, studies=[a_study("one", "two", report="reports/s")]))


def test_a_studys_events_go_after_its_report():
    thing = a_thing(Sort.EVENTS, "study/s-abc234")
    assert not goes(thing, known(studies=[a_study("one")]))
    assert goes(thing, known(studies=[a_study("one", report="reports/s")]))


def test_answers_stay_while_their_teacher_may_be_asked():
    thing = a_thing(Sort.ANSWERS, MANIFEST.digest)
    assert goes(thing, known())
    assert not goes(thing, known(teachers=(a_teacher(),)))
    assert not goes(thing, known(reserved=frozenset({WISE.digest})))
    assert not goes(thing, known(a_taught_job()))
    assert goes(thing, known(ended(a_taught_job())))


def test_a_folder_that_no_record_knows_goes_once_it_has_been_one_for_long():
    thing = a_thing(Sort.ORPHANS, "job/gone", where="runs/gone")
    first = plan(known(), [thing], POLICY, LATE)
    assert (first.going, first.orphans) == ((), {"runs/gone": LATE})
    assert not goes(thing, known(orphans=first.orphans), now=LATE + 30 * DAY)
    assert goes(thing, known(orphans=first.orphans), now=LATE + 31 * DAY)


def test_a_folder_that_a_record_knows_again_is_no_orphan():
    thing = a_thing(Sort.ORPHANS, "job/one", where="runs/one")
    found = plan(known(a_queued_job("one"), orphans={"runs/one": NOON}), [thing], POLICY, LATE)
    assert (found.going, found.orphans) == ((), {})


@pytest.mark.parametrize("owner", ["job/one", "study/s-abc234", "teacher/wise/1"])
def test_folders_of_what_there_is_are_nobodys_orphans(owner: str):
    among = known(ended(a_queued_job("one")), studies=[a_study("one")], teachers=(a_teacher(),))
    among = replace(among, orphans={"somewhere": NOON - 100 * DAY})
    assert not goes(a_thing(Sort.ORPHANS, owner), among)
    assert goes(a_thing(Sort.ORPHANS, owner), known(orphans={"somewhere": NOON - 100 * DAY}))


def test_the_folder_of_a_version_that_is_gone_stays_while_a_job_names_it():
    thing = a_thing(Sort.ORPHANS, "teacher/wise/1")
    among = known(ended(a_taught_job()), orphans={"somewhere": NOON - 100 * DAY})
    assert not goes(thing, among)


def test_a_specification_is_searched_through_and_through():
    student = JOB["student"] | {"init_from": {"source": "job", "job": "deep"}}
    spec = StudySpec.model_validate({"name": "s", "job": JOB | {"student": student}})
    assert list(begins_from(spec)) == ["deep"]


JOBS = [f"job-{number}" for number in range(6)]


@dataclass(frozen=True)
class House:
    """Everything that refers to something."""

    jobs: Sequence[JobRecord]
    study: StudyRecord
    teacher: TeacherRecord
    reusable: frozenset[str]
    reserved: frozenset[str]

    @property
    def known(self) -> Known:
        """As a plan is told of it."""
        more = {"teachers": (self.teacher,), "reusable": self.reusable, "reserved": self.reserved}
        return known(*self.jobs, studies=[self.study], **more)


@st.composite
def houses(draw: st.DrawFn) -> House:
    """Jobs in all states that refer to one another in all ways."""
    jobs = []
    for identity in JOBS:
        begun_from = draw(st.sampled_from([None, *JOBS]))
        student = JOB["student"] | ({"init_from": {"source": "job", "job": begun_from}} if begun_from else {})
        state = draw(st.sampled_from(JobState))
        changes = {
            "state": state,
            "ended_at": NOON if state.is_final else None,
            "after": draw(st.sampled_from([None, *JOBS])),
            "teachers": (WISE,) if draw(st.booleans()) else (),
        }
        jobs.append(a_queued_job(identity, student=student).model_copy(update=changes))
    some = st.lists(st.sampled_from(JOBS), unique=True, max_size=4)
    members = tuple(CheckedMember(folder=f"runs/{job}/1/artifacts", job=job) for job in draw(some))
    return House(
        jobs=jobs,
        study=a_study(*draw(some), report=draw(st.sampled_from([None, "reports/s"]))),
        teacher=a_teacher(a_version(members=members, manifest=None)),
        reusable=frozenset(draw(some)),
        reserved=frozenset(draw(st.sampled_from([(), (MANIFEST.digest,)]))),
    )


@given(house=houses(), days=st.integers(0, 400))
def test_nothing_that_something_refers_to_is_ever_in_the_plan(house: House, days: int):
    things = [a_thing(sort, f"job/{job}", f"{sort}/{job}") for sort, job in product(PARTS, JOBS)]
    things += [a_thing(Sort.ORPHANS, f"job/{job}", f"runs/{job}") for job in JOBS]
    things += [a_thing(Sort.ANSWERS, MANIFEST.digest, "answers/wise")]
    gone = {one.thing.where for one in plan(house.known, things, POLICY, NOON + days * DAY).going}
    study = house.study
    for job in house.jobs:
        mine = {f"{sort}/{job.id}" for sort in PARTS}
        if not job.state.is_final:
            assert not mine & gone
            assert job.spec.student.init_from is None or f"artifacts/{job.spec.student.init_from.job}" not in gone
            assert not job.teachers or "answers/wise" not in gone
        if study.report is None and job.id in study.jobs.values():
            assert not mine & gone
        assert f"artifacts/{job.after}" not in gone
        assert f"runs/{job.id}" not in gone
    assert not {f"artifacts/{member.job}" for member in house.teacher.versions[0].members} & gone
    assert not {f"artifacts/{job}" for job in house.reusable} & gone
    assert not (house.reserved and "answers/wise" in gone)
    assert days > 30 or not gone


@given(house=houses())
def test_what_nothing_refers_to_does_go(house: House):
    things = [a_thing(Sort.LOGS, f"job/{job}", job) for job in JOBS]
    gone = {one.thing.where for one in plan(house.known, things, POLICY, LATE).going}
    waits = set(house.study.jobs.values()) if house.study.report is None else set()
    assert gone == {job.id for job in house.jobs if job.state.is_final} - waits
