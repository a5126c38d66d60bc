"""A study file: which jobs it becomes, what they are called, and which files can't be right."""

from typing import Any

import pytest
from pydantic import ValidationError

from distill.contracts.explain import explain
from distill.contracts.job import JobSpec
from distill.contracts.study import MAX_KEY, Child, StudySpec

SOFT = {"kind": "soft_targets", "weight": 0.9}
LABELS = {"kind": "labels", "weight": 0.1}
JOB: dict[str, Any] = {
    "name": "digits",
    "dataset": {"source": "digits"},
    "student": {"source": "zoo", "name": "mlp"},
    "teachers": [{"name": "wise@1"}],
    "objective": [LABELS, SOFT],
    "training": {"seed": 7},
}
ALONE = JOB | {"teachers": [], "objective": [{"kind": "labels"}]}


def mlp(*hidden: int) -> dict[str, Any]:
    return {"source": "zoo", "name": "mlp", "args": {"hidden": list(hidden)}}


def a_study(**changes: Any) -> StudySpec:
    return StudySpec.model_validate({"name": "digits-study", "job": JOB} | changes)


def jobs_of(study: StudySpec) -> dict[str, JobSpec]:
    return {key: study.spec_of(child, study="digits-abc234") for key, child in study.children().items()}


SWEEP = [{"name": "small", "student": mlp(8)}, {"name": "wide", "student": mlp(64)}]


def test_a_plain_study_is_a_student_and_its_baseline():
    study = a_study()
    assert study.children() == {
        "student": Child(role="student", seed=7),
        "baseline": Child(role="baseline", seed=7),
    }
    jobs = jobs_of(study)
    assert jobs["student"] == study.job
    assert (jobs["baseline"].name, jobs["baseline"].teachers) == ("digits-baseline", ())


def test_each_seed_trains_a_student_and_a_baseline_on_the_same_data():
    jobs = jobs_of(a_study(seeds=[0, 3]))
    assert list(jobs) == ["student-s0", "student-s3", "baseline-s0", "baseline-s3"]
    assert [job.training.seed for job in jobs.values()] == [0, 3, 0, 3]
    assert len({job.dataset.model_dump_json() for job in jobs.values()}) == 1


def test_the_points_of_a_sweep_replace_the_jobs_student():
    jobs = jobs_of(a_study(sweep=SWEEP))
    assert list(jobs) == ["student-small", "student-wide", "baseline-small", "baseline-wide"]
    assert [job.student.args.hidden for job in jobs.values()] == [(8,), (64,), (8,), (64,)]


def test_a_later_generation_is_taught_by_the_one_before_and_by_nobody_else():
    study = a_study(generations=3, seeds=[1, 2])
    jobs = jobs_of(study)
    assert len(jobs) == 2 * 3 + 2
    assert [use.name for use in jobs["student-s2-g1"].teachers] == ["wise@1"]
    assert [use.name for use in jobs["student-s2-g3"].teachers] == ["digits-abc234@student-s2-g2"]
    assert study.before(study.children()["student-s2-g3"]) == "student-s2-g2"
    assert study.before(study.children()["student-s2-g1"]) is None


def test_generations_of_a_job_without_teachers_are_their_own_baseline():
    study = a_study(job=ALONE, generations=2, later_objective=[LABELS, SOFT])
    jobs = jobs_of(study)
    assert list(jobs) == ["student-g1", "student-g2"]
    assert [term.kind for term in jobs["student-g1"].objective] == ["labels"]
    assert [term.kind for term in jobs["student-g2"].objective] == ["labels", "soft_targets"]


def test_every_child_is_a_job_file_that_could_be_posted():
    study = a_study(seeds=[0, 1], sweep=SWEEP, generations=2)
    jobs = jobs_of(study)
    assert len(jobs) == 2 * 2 * 2 + 2 * 2
    for job in jobs.values():
        assert JobSpec.model_validate_json(job.model_dump_json()) == job


def test_children_of_the_same_parts_have_keys_of_their_own():
    points = [{"name": name, "student": mlp(width)} for width, name in enumerate(("a", "a-s1", "a-g2", "s1"), 1)]
    study = a_study(sweep=points, seeds=[1, 2], generations=2)
    assert len(study.children()) == 4 * 2 * 2 + 4 * 2
    assert max(map(len, study.children())) <= MAX_KEY


def test_a_long_name_is_cut_before_its_key():
    job = JOB | {"name": "x" * 48}
    assert jobs_of(a_study(job=job))["baseline"].name == "x" * 39 + "-baseline"


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"seeds": [1, 2, 1]}, "seeds", "1 is given twice"),
        ({"seeds": list(range(33))}, "seeds", "at most 32"),
        ({"seeds": [-1]}, "seeds.0", "greater than or equal to 0"),
        ({"sweep": [SWEEP[0], SWEEP[1] | {"name": "small"}]}, "sweep.1.name", "another point"),
        ({"sweep": [SWEEP[0], SWEEP[0] | {"name": "same"}]}, "sweep.1.student", "the same student"),
        (
            {"sweep": [{"name": "huge", "student": {"source": "zoo", "name": "resnet9000"}}]},
            "sweep.0.student.name",
            "resnet",
        ),
        ({"sweep": [{"name": "x" * 25, "student": mlp(8)}]}, "sweep.0.name", "at most 24"),
        ({"sweep": [{"name": "x" * 24, "student": mlp(8)}]}, "sweep.0.name", "33 characters, and at most 32"),
        ({"seeds": list(range(30)), "generations": 5}, "seeds", "30 seeds x 5 generations make 150 jobs, and 30 more"),
        (
            {"seeds": list(range(32)), "sweep": [*SWEEP, {"name": "c", "student": mlp(9)}]},
            "sweep",
            "3 students x 32 seeds make 96 jobs, and 96 more",
        ),
        ({"generations": 9}, "generations", "less than or equal to 8"),
        ({"generations": 0}, "generations", "greater than or equal to 1"),
        ({"job": ALONE, "generations": 2}, "job.objective", "no term has a served target"),
        ({"later_objective": [LABELS, SOFT]}, "later_objective", "'generations' is 1"),
        ({"generations": 2, "later_objective": [LABELS]}, "later_objective", "no term has a served target"),
        (
            {"generations": 2, "later_objective": [SOFT | {"target": {"from": "served", "teacher": 0, "member": 1}}]},
            "later_objective",
            "one teacher of one member",
        ),
        (
            {"generations": 2, "later_objective": [SOFT, SOFT | {"target": {"from": "peers"}}]},
            "later_objective",
            "only the scheme 'online' supplies that",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_a_study_that_can_not_be_is_refused_with_its_field(change: dict[str, Any], field: str, said: str):
    body = {"name": "digits-study", "job": JOB} | change
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate(body)
    (problem,) = explain(caught.value.errors(include_url=False), body)
    assert problem.field == field
    assert said in problem.message


def test_deep_supervision_has_the_plain_student_for_its_baseline():
    early = {"kind": "labels", "at": "stages.0", "smoothing": 0.3}
    jobs = jobs_of(a_study(job=ALONE | {"objective": [early, {"kind": "labels", "smoothing": 0.1}]}))
    assert [(term.at, term.smoothing) for term in jobs["baseline"].objective] == [(None, 0.1)]
    assert jobs_of(a_study(job=ALONE)).keys() == {"student"}
