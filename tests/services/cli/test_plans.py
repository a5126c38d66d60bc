"""What a person reads of a dry run."""

import json
from pathlib import Path
from typing import Any

from distill.contracts.errors import NoRoom
from distill.contracts.job import JobSpec
from distill.contracts.records import Reason
from distill.contracts.study import StudySpec
from services.cli.plans import plan_card
from services.control_plane.plans import Plan, PlannedJob, PlannedPlace, PlannedQuota, PlannedTeacher
from tests.services.cli.conftest import Run
from tests.services.client.stub_house import House

TEACHER = PlannedTeacher(
    reference="wise@1", members=3, replicas=2, replicas_there=1, max_replicas=4, cpus=0.5, gpus=0,
    weights_bytes=2_500_000, memory_bytes=10_000_000, rows_per_s=12_000.0,
)  # fmt: skip
AT_ONCE = PlannedPlace(starts=True, num_waiting=0)
WAITS = PlannedPlace(
    starts=False, position=2, num_waiting=3,
    reason=Reason(code="waiting_for_resources", text="2nd of 3 in the queue; waiting for 2 CPUs (0 free)"),
)  # fmt: skip


def a_planned_job(**changes: Any) -> PlannedJob:
    fields: dict[str, Any] = {
        "workers": 1, "cpus": 1.0, "gpus": 0.0, "teachers": [], "rows_per_s": None, "declared_rows_per_s": None,
        "place": AT_ONCE, "deferred": ["dataset: whether digits can be read"],
    }  # fmt: skip
    return PlannedJob(**(fields | changes))


def test_a_job_alone_is_said_in_a_few_lines():
    assert list(plan_card(Plan(jobs={"student": a_planned_job()}, reused={}, quotas=[]))) == [
        "it would be accepted",
        "student  would start at once",
        "  takes    1 worker, 1 CPUs in all",
        "seen only once an attempt has the data:",
        "  dataset: whether digits can be read",
    ]


def test_a_study_says_of_each_job_what_it_takes_and_what_it_waits_for():
    student = a_planned_job(teachers=[TEACHER], rows_per_s=24_000.0, declared_rows_per_s=500.0, place=WAITS, gpus=1.0)
    quotas = [PlannedQuota(what="jobs", granted=10, used=4, needed=1)]
    quotas.append(PlannedQuota(what="rows_per_month", granted=1e6, used=2.5e5, needed=None))
    shown = list(plan_card(Plan(jobs={"student": student}, reused={"baseline": "base-abc234"}, quotas=quotas)))
    assert shown[:8] == [
        "it would be accepted: 2 jobs",
        "student  would wait: 2nd of 3 in the queue; waiting for 2 CPUs (0 free)",
        "  takes    1 worker, 1 CPUs and 1 GPUs in all",
        "  teacher  wise@1: 3 members; replicas: 1 there, 1 to start, at most 4; each 0.5 CPUs, 12,000 rows/s, 2.5 MB of "
        "weights, about 10.0 MB at work",
        "  answers  24,000 rows/s at most with so many replicas, and it declares to take 500 rows/s",
        "baseline  is there already: base-abc234",
        "quota  jobs at a time: 6 of 10 left; this takes 1",
        "quota  teacher rows a month: 750,000 of 1,000,000 left",
    ]


def test_a_plan_is_shown_and_nothing_is_submitted(stillhouse: Run, house: House, job_file: Path):
    house.plan = Plan(jobs={"student": a_planned_job()}, reused={}, quotas=[])
    done = stillhouse("plan", job_file)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[:2] == ["it would be accepted", "student  would start at once"]
    assert json.loads(stillhouse("plan", job_file, "--json").stdout)["jobs"]["student"]["workers"] == 1
    assert [type(one) for one in house.planned] == [JobSpec, JobSpec]
    assert house.jobs == {}


def test_a_study_is_planned_as_one(stillhouse: Run, house: House, tmp_path: Path):
    file = tmp_path / "study.yaml"
    file.write_text("name: pair\njob: {name: digits, dataset: {source: digits}, student: {source: zoo, name: mlp}}\n")
    assert stillhouse("plan", file).exit_code == 0
    assert [type(one) for one in house.planned] == [StudySpec]


def test_what_would_be_refused_is_refused_with_its_exit_code(stillhouse: Run, house: House, job_file: Path):
    house.refusals["/v1/jobs/plan"] = NoRoom(
        "compute: workers take 9 CPUs, and the whole cluster has 2", field="compute"
    )
    done = stillhouse("plan", job_file)
    assert (done.exit_code, "the whole cluster has 2" in done.stderr) == (2, True)


def test_what_is_seen_later_by_several_jobs_is_said_once():
    both = {"student": a_planned_job(), "baseline": a_planned_job()}
    assert sum("dataset" in line for line in plan_card(Plan(jobs=both, reused={}, quotas=[]))) == 1
