"""Reports composed from data alone: records, results and predictions in, a `Report` out."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from distill.contracts.measures import AttemptResult, Predictions
from distill.contracts.records import JobRecord, JobState, StudyRecord
from distill.contracts.report import Report, ReportJob
from services.reports.caveats import caveats
from services.reports.frontier import frontier
from services.reports.headline import headline
from services.reports.lines import Lines
from services.reports.runs import Group, Run, grouped, run_of_job, runs_of
from services.reports.timeline import stations

ALPHA = 0.5
"""Of the distillation score of a job that belongs to no study."""


def compose_study(
    study: StudyRecord,
    jobs: Mapping[str, JobRecord],
    results: Mapping[str, AttemptResult],
    predictions: Mapping[str, Predictions],
    *,
    at: datetime,
) -> Report:
    """The report of a study whose children have all ended.

    Args:
        study: the study; it has at least one child that is a student.
        jobs: child -> its record.
        results: child -> what it left; a child that failed has none.
        predictions: child -> the classes that it named.
        at: the moment of the report.
    """
    return _report(
        runs_of(study, jobs, results, predictions),
        alpha=study.spec.alpha,
        within=study.spec.within,
        kind="study",
        id=study.id,
        name=study.spec.name,
        team=study.team,
        created_at=at,
    )


def compose_job(
    job: JobRecord, result: AttemptResult | None, predictions: Predictions | None = None, *, at: datetime
) -> Report:
    """The report of one job that has ended; ``result`` is None if it failed."""
    return _report(
        [run_of_job(job, result, predictions)],
        alpha=ALPHA,
        kind="job",
        id=job.id,
        name=job.spec.name,
        team=job.team,
        created_at=at,
    )


def _report(runs: Sequence[Run], *, alpha: float, within: float = 0.0, **identity: object) -> Report:
    lines = Lines(runs, alpha)
    models, comparisons, jobs = lines.models, lines.comparisons(), _report_jobs(runs, str(identity["id"]))
    front = frontier(lines.last_students(), lines.ensemble, within)
    student = next(run for run in runs if run.child.role == "student")
    return Report.model_validate(
        {
            **identity,
            "headline": headline(models, comparisons, jobs, front),
            "models": models,
            "comparisons": comparisons,
            "alpha": alpha,
            "nearness": lines.nearness(),
            "frontier": front,
            "jobs": jobs,
            "dataset": student.job.dataset,
            "caveats": caveats(models, comparisons, jobs, front, lines.teachers),
        }
    )


def _report_jobs(runs: Sequence[Run], study: str) -> tuple[ReportJob, ...]:
    groups = {id(run): group for group in grouped(runs) for run in group.runs}
    return tuple(_report_job(run).model_copy(update=_place(run, groups[id(run)], study)) for run in runs)


def _place(run: Run, group: Group, study: str) -> dict[str, object]:
    """The size, generation and seed that tell it from its like, and where it comes from."""
    return {
        "point": group.point,
        "generation": group.shown_generation,
        "seed": run.child.seed if len(group.runs) > 1 else None,
        "reused_from": run.job.study if run.child.role == "baseline" and run.job.study != study else None,
    }


def _report_job(run: Run) -> ReportJob:
    job, result = run.job, run.result
    record = ReportJob(
        id=job.id,
        role=run.child.role,
        state=job.state,
        reason=job.reason.text,
        problem=job.attempts[-1].problem if job.attempts and job.state is not JobState.SUCCEEDED else None,
        attempts=job.attempt,
        stations=stations(job),
        phases={},
        spec=job.spec,
    )
    if result is None:
        return record
    return record.model_copy(
        update={
            "phases": result.phases,
            "curve": result.curve,
            "quality": result.quality,
            "selected": result.selected,
            "last": result.last,
            "agreement": result.agreement,
            "teacher_rows": result.teacher_rows,
            "teacher_rows_recalled": result.teacher_rows_recalled,
            "teacher_wait_s": result.teacher_wait_s,
            "artifacts": result.artifacts,
            "versions": result.versions,
        }
    )
