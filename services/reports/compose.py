"""Reports composed from data alone: records, results and predictions in, a `Report` out."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from distill.contracts.measures import AttemptResult, Predictions
from distill.contracts.records import JobRecord, JobState, StudyRecord
from distill.contracts.report import Comparison, Report, ReportJob, ReportModel
from services.reports.caveats import caveats
from services.reports.compare import compare
from services.reports.headline import headline
from services.reports.models import agreement_with_ensemble, teacher_models, trained_model
from services.reports.timeline import stations


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
        study: the study; it has a child ``student``, and perhaps a ``baseline``.
        jobs: role -> record of each child.
        results: role -> what the child left; a child that failed has none.
        predictions: role -> the classes that it named.
        at: the moment of the report.
    """
    student, baseline = jobs["student"], jobs.get("baseline")
    models = [*_job_models(student, results.get("student"))]
    if baseline is not None:
        models.append(
            trained_model(
                baseline,
                results.get("baseline"),
                role="baseline",
                agreement=agreement_with_ensemble(predictions.get("baseline"), predictions.get("student")),
                student_data=student.dataset,
            )
        )
    children = [_report_job(role, job, results.get(role)) for role, job in jobs.items()]
    return _report(
        models,
        children,
        kind="study",
        id=study.id,
        name=study.spec.name,
        team=study.team,
        created_at=at,
        dataset=student.dataset,
    )


def compose_job(
    job: JobRecord, result: AttemptResult | None, predictions: Predictions | None = None, *, at: datetime
) -> Report:
    """The report of one job that has ended; ``result`` is None if it failed."""
    return _report(
        _job_models(job, result, predictions),
        [_report_job(job.role, job, result)],
        kind="job",
        id=job.id,
        name=job.spec.name,
        team=job.team,
        created_at=at,
        dataset=job.dataset,
    )


def _job_models(
    job: JobRecord, result: AttemptResult | None, predictions: Predictions | None = None
) -> list[ReportModel]:
    agreement = result.agreement if result else None
    if agreement is None:
        agreement = agreement_with_ensemble(predictions, predictions)
    return [*teacher_models(job, result), trained_model(job, result, role="student", agreement=agreement)]


def _report(models: Sequence[ReportModel], jobs: Sequence[ReportJob], **identity: object) -> Report:
    comparisons = _comparisons(models)
    return Report.model_validate(
        {
            **identity,
            "headline": headline(models, comparisons, jobs),
            "models": tuple(models),
            "comparisons": comparisons,
            "jobs": tuple(jobs),
            "caveats": caveats(models, comparisons, jobs),
        }
    )


def _comparisons(models: Sequence[ReportModel]) -> tuple[Comparison, ...]:
    student = next(model for model in models if model.role == "student")
    others = [model for role in ("baseline", "ensemble") for model in models if model.role == role]
    compared = [compare(student, other) for other in others]
    return tuple(comparison for comparison in compared if comparison is not None)


def _report_job(role: str, job: JobRecord, result: AttemptResult | None) -> ReportJob:
    record = ReportJob(
        id=job.id,
        role=role,
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
            "teacher_rows": result.teacher_rows,
            "teacher_wait_s": result.teacher_wait_s,
            "artifacts": result.artifacts,
            "versions": result.versions,
        }
    )
