"""Runs of several seeds as one line of the table of models: means, and how far the seeds lie apart."""

from collections.abc import Sequence
from statistics import fmean, stdev

from distill.contracts.datasets import DatasetFacts
from distill.contracts.measures import Quality, Size
from distill.contracts.report import Deviation, LearnedFrom, ReportModel
from services.reports.models import timed_alike, trained_model
from services.reports.runs import Group, Run
from services.reports.voice import Voice, agreement_of


def group_model(group: Group, voice: Voice | None, student_data: DatasetFacts | None) -> ReportModel:
    """One line: the runs that left a result, or the first run's architecture and data where none did.

    Args:
        group: student or baseline.
        voice: the ensemble that agreement is with.
        student_data: what a baseline's rows are held against.
    """
    lines = [_line(run, group, voice, student_data) for run in group.finished or group.runs[:1]]
    qualities = [line.quality for line in lines if line.quality is not None]
    agreements = [line.agreement for line in lines if line.agreement is not None]
    return lines[0].model_copy(
        update={
            "name": group.name,
            "point": group.point,
            "generation": group.shown_generation,
            "seeds": tuple(run.child.seed for run in group.finished),
            "quality": mean_quality(qualities) if qualities else None,
            "deviation": deviation(qualities, agreements) if len(qualities) > 1 else None,
            "size": mean_size([line.size for line in lines if line.size is not None]),
            "agreement": fmean(agreements) if agreements else None,
            "learned_from": _mean_effort([line.learned_from for line in lines if line.learned_from is not None]),
        }
    )


def mean_quality(qualities: Sequence[Quality]) -> Quality:
    """The mean of each figure; the number of rows is that of one."""
    return Quality(
        accuracy=fmean(quality.accuracy for quality in qualities),
        nll=fmean(quality.nll for quality in qualities),
        calibration_error=fmean(quality.calibration_error for quality in qualities),
        num_rows=qualities[0].num_rows,
    )


def deviation(qualities: Sequence[Quality], agreements: Sequence[float]) -> Deviation:
    """Sample standard deviations: the root of the squared distances from the mean, summed and divided by n - 1."""
    return Deviation(
        accuracy=stdev(quality.accuracy for quality in qualities),
        nll=stdev(quality.nll for quality in qualities),
        calibration_error=stdev(quality.calibration_error for quality in qualities),
        agreement=stdev(agreements) if len(agreements) > 1 else None,
    )


def mean_size(sizes: Sequence[Size]) -> Size | None:
    """Of one architecture: what is counted is the same for all seeds, and timings are averaged where they may be."""
    if not sizes:
        return None
    latency_ms = {batch: fmean(size.latency_ms[batch] for size in sizes) for batch in timed_alike(sizes)}
    return sizes[0].model_copy(update={"latency_ms": latency_ms})


def _line(run: Run, group: Group, voice: Voice | None, student_data: DatasetFacts | None) -> ReportModel:
    return trained_model(
        run.job,
        run.result,
        role=group.role,
        agreement=agreement_of(run, voice) if voice is not None else None,
        student_data=student_data if group.role == "baseline" else None,
    )


def _mean_effort(facts: Sequence[LearnedFrom]) -> LearnedFrom | None:
    """Rows and labels are the same for all seeds; time differs, and steps do where training stopped early."""
    if not facts:
        return None
    seconds = [one.seconds for one in facts if one.seconds is not None]
    steps = [one.steps for one in facts if one.steps is not None]
    return facts[0].model_copy(
        update={"seconds": fmean(seconds) if seconds else None, "steps": round(fmean(steps)) if steps else None}
    )
