"""A report holds what the records, results and predictions say, and what to doubt."""

import json
from typing import Any

from pydantic import BaseModel

from distill.contracts.errors import Problem
from distill.contracts.measures import AttemptResult, Size, TeacherQuality
from distill.contracts.records import JobState
from distill.contracts.report import Comparison, Report, ReportJob, ReportModel
from services.reports.compose import compose_job, compose_study
from services.reports.markdown import render_markdown

from .examples import (
    NOON,
    child,
    composed,
    facts,
    job,
    job_spec,
    member,
    predictions,
    result,
    study,
    teacher,
    three_members,
)

TEACHERS = (three_members(),)


def a_report(*, steps: int = 400, num_attempts: int = 1, waited_s: float = 0.0, teachers=TEACHERS) -> Report:
    members = (0.9,) * sum(len(t.manifest.members) for t in teachers)
    jobs = {"student": job(teachers=teachers, num_attempts=num_attempts), "baseline": job("baseline")}
    results = {
        "student": result(0.874, ensemble=0.92, members=members, waited_s=waited_s, agreement=0.9),
        "baseline": result(0.79, role="baseline", steps=steps),
    }
    named = {
        "student": predictions((0, 1, 2, 3), ensemble=(0, 1, 2, 0)),
        "baseline": predictions((0, 1, 0, 1)),
    }
    return compose_study(study("student", "baseline"), jobs, results, named, at=NOON)


def test_models_stand_in_order():
    assert [m.role for m in a_report().models] == ["ensemble", "member", "member", "member", "student", "baseline"]


def test_the_baselines_agreement_comes_from_predictions():
    agreements = {m.role: m.agreement for m in a_report().models}
    assert (agreements["student"], agreements["baseline"]) == (0.9, 0.5)  # classes 0 and 1 of 0, 1, 2, 0


def test_the_student_is_set_beside_baseline_and_ensemble():
    assert [(c.role, c.verdict) for c in a_report().comparisons] == [("baseline", "better"), ("ensemble", "worse")]


def test_time_is_told_from_station_to_station():
    stations = a_report().jobs[0].stations
    assert [s.name for s in stations] == [
        "submitted", "claimed", "launched", "started", "checked", "workers ready", "teacher ready", "first step",
        "trained", "evaluated", "exported", "ended",
    ]  # fmt: skip
    assert {s.after_s for s in stations[1:]} == {3.0}
    assert stations[-1].at_s == 33.0


def test_a_job_cancelled_in_the_queue_has_only_a_beginning_and_an_end():
    record = job(state=JobState.CANCELLED).model_copy(update={"attempts": (), "dataset": None})
    report = compose_job(record, None, at=NOON)
    assert [(s.name, s.at_s) for s in report.jobs[0].stations] == [("submitted", 0.0), ("ended", 33.0)]


def test_a_failed_child_keeps_its_problem():
    broken = Problem(code="training_diverged", message="the loss is NaN")
    failed = job("baseline", state=JobState.FAILED, problem=broken)
    jobs = {"student": job(teachers=TEACHERS), "baseline": failed}
    done = {"student": result(0.874, ensemble=0.92, members=(0.9, 0.9, 0.9))}
    report = compose_study(study("student", "baseline"), jobs, done, {}, at=NOON)
    assert report.jobs[1].problem == broken
    assert report.caveats[0] == "The baseline failed: the loss is NaN."
    assert [c.role for c in report.comparisons] == ["ensemble"]


def test_a_problem_of_an_attempt_that_was_made_up_for_is_no_problem():
    record = job(problem=Problem(code="attempt_lost", message="gone"))
    assert compose_job(record, result(0.8), at=NOON).jobs[0].problem is None


def test_unequal_labels_are_said():
    assert any("1,000 labels each" in c and "up to 27,000 labels" in c for c in a_report().caveats)


def test_members_that_saw_the_students_rows_are_said():
    report = a_report(teachers=(three_members(trained_on=facts(20_000, 50_000, labels=27_000)),))
    assert (
        "fashion@1 member 0 learned from rows that the student uses too: 20,000 rows lie in both ranges."
        in report.caveats
    )


def test_members_that_are_one_network_are_said():
    report = a_report(teachers=(teacher(member(), member(width=8), member()),))
    assert any(c.startswith("fashion@1 member 0 and fashion@1 member 2 are one network") for c in report.caveats)
    assert not any("one network" in c for c in a_report().caveats)


def test_members_with_an_unknown_past_are_said():
    report = a_report(teachers=(teacher(member(), member()),))
    assert any(
        c.startswith("Whether fashion@1 member 0 and fashion@1 member 1 saw the student's rows") for c in report.caveats
    )


def test_a_last_layer_that_nothing_reaches_is_said():
    hint = {"kind": "hint", "pairs": [{"student": "stages.1", "teacher": "stages.1"}]}
    alone = compose_job(job(teachers=TEACHERS, spec=job_spec(objective=[hint])), result(0.1), at=NOON)
    assert any(caveat.startswith("No term of student reaches the student's last layer") for caveat in alone.caveats)
    whole = [hint, {"kind": "labels"}]
    both = compose_job(job(teachers=TEACHERS, spec=job_spec(objective=whole)), result(0.1), at=NOON)
    assert not any("last layer" in caveat for caveat in both.caveats)


def test_unequal_steps_are_said():
    assert "Steps differ: 400 for the student, 390 for its baseline." in a_report(steps=390).caveats
    assert not any("Steps differ" in c for c in a_report().caveats)


def stopped(done: AttemptResult, epoch: int) -> AttemptResult:
    """The same, had its training ended after this one."""
    return done.model_copy(update={"curve": done.curve[:epoch], "steps": 80 * epoch})


def test_unequal_budgets_by_early_stopping_are_said():
    spec = job_spec(training={"epochs": 5}, evaluation={"patience": 2})
    alone = job_spec(teachers=False, training={"epochs": 5}, evaluation={"patience": 2})
    jobs = {"student": job(teachers=TEACHERS, spec=spec), "baseline": job("baseline", spec=alone)}

    def said(student: int, baseline: int) -> list[str]:
        done = {
            "student": stopped(result(0.874, ensemble=0.92, members=(0.9, 0.9, 0.9)), student),
            "baseline": stopped(result(0.79, role="baseline"), baseline),
        }
        report = compose_study(study("student", "baseline"), jobs, done, {}, at=NOON)
        return [caveat for caveat in report.caveats if "Steps differ" in caveat or "Early stopping" in caveat]

    assert said(student=3, baseline=5) == [
        "Steps differ: 240 for the student, 400 for its baseline.",
        "Early stopping ended the student after epoch 3, and the baseline after epoch 5: their budgets are not equal.",
    ]
    assert said(student=4, baseline=4) == []
    assert said(student=5, baseline=5) == []


def test_more_attempts_and_waiting_are_said():
    caveats = a_report(num_attempts=2, waited_s=12.3).caveats
    assert any(c.startswith("The student took 2 attempts") for c in caveats)
    assert "The student stood still for 12.3 s, waiting for teachers." in caveats


def test_where_latency_was_measured_is_said():
    assert any("medians on cpu with 1 thread; other jobs may have run" in c for c in a_report().caveats)


def test_a_report_survives_its_own_json():
    report = a_report()
    assert Report.model_validate_json(report.model_dump_json()) == report


NEW_KEYS: dict[type, set[str]] = {
    AttemptResult: {"selected", "last", "snapshots"},
    Size: {"peak_memory_bytes"},
    TeacherQuality: {"agreements"},
    Report: {"alpha", "nearness", "frontier"},
    ReportModel: {"point", "generation", "seeds", "deviation", "retention", "size_reduction", "score"},
    Comparison: {"row_noise", "differences", "point", "generation"},
    ReportJob: {"point", "generation", "seed", "reused_from", "quality", "selected", "last", "agreement"},
}
"""What contracts have held since reports tell seeds and sizes apart."""


def as_before(value: Any) -> Any:
    """The stored form of a contract without its new keys, throughout."""
    if isinstance(value, BaseModel):
        kept = set(type(value).model_fields) - NEW_KEYS.get(type(value), set())
        return {name: as_before(getattr(value, name)) for name in kept}
    if isinstance(value, dict):
        return {name: as_before(inner) for name, inner in value.items()}
    return [as_before(inner) for inner in value] if isinstance(value, tuple) else value


def test_a_report_of_before_seeds_and_sizes_can_still_be_read_and_shown():
    old = Report.model_validate_json(json.dumps(as_before(a_report()), default=str))
    assert old.headline == a_report().headline
    assert [model.seeds for model in old.models] == [()] * 6
    assert "| **student** fashion-small | cnn, width 8 | 87.4 % |" in render_markdown(old)


def test_a_result_of_before_memory_and_selection_can_still_be_read():
    done = result(0.874, ensemble=0.92, members=(0.9, 0.9, 0.9))
    old = AttemptResult.model_validate_json(json.dumps(as_before(done)))
    report = compose_job(job(teachers=TEACHERS), old, at=NOON)
    assert (old.selected, old.size.peak_memory_bytes, old.teachers[0].agreements) == (None, None, ())
    assert [m.agreement for m in report.models if m.role == "member"] == [None] * 3


def test_a_job_beyond_any_study_weighs_size_and_accuracy_alike():
    assert compose_job(job(teachers=TEACHERS), result(0.874, ensemble=0.92), at=NOON).alpha == 0.5


def test_the_spread_over_few_seeds_is_doubted():
    seeds = {child(role, seed=seed): 0.8 + seed / 100 for role in ("student", "baseline") for seed in (0, 1, 2)}
    caveats = composed(seeds).caveats
    assert any(
        "paired by seed: ±0.0 points beside the baseline and ±1.2 points beside the ensemble" in c for c in caveats
    )
    assert (
        "3 seeds say little of a spread: for 95 % certainty Student's t asks for 4.3 standard errors, not for two."
        in caveats
    )
    assert not any("each model here was trained once" in c for c in caveats)


def test_a_choice_made_on_test_rows_is_owned():
    sizes = {child("student", point="w8"): 0.91, child("student", point="w16"): 0.915}
    assert any(
        c.startswith("Which size is the cheapest near enough was read off the test rows")
        for c in composed(sizes).caveats
    )


def test_a_baseline_of_an_earlier_study_is_said_to_be_reused():
    earlier = job("baseline").model_copy(update={"study": "autumn-study"})
    jobs = {"student": job(teachers=TEACHERS), "baseline": earlier}
    done = {"student": result(0.874, ensemble=0.92, members=(0.9,) * 3), "baseline": result(0.79, role="baseline")}
    report = compose_study(study("student", "baseline"), jobs, done, {}, at=NOON)
    assert [j.reused_from for j in report.jobs] == [None, "autumn-study"]
    assert any(c.startswith("1 baseline of autumn-study reused: the same student") for c in report.caveats)
