"""The student beside another model: what is a difference, and what is noise."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

from distill.contracts.measures import Quality, Size
from distill.contracts.report import Comparison, ReportModel, Verdict


def compare(student: ReportModel, other: ReportModel, differences: Sequence[float] = ()) -> Comparison | None:
    """Set the student beside ``other``; None where one of them was not measured.

    Args:
        student: a run, or the mean of several.
        other: the same.
        differences: student's accuracy minus the other's, for each seed that both have. Of two or more the mean is the
            gain, and their spread the noise; of fewer the numbers of test rows say what noise is.
    """
    if not (student.quality and student.size and other.quality and other.size):
        return None
    row_noise = noise_of_difference(student.quality, other.quality)
    by_seed = len(differences) > 1
    gain = fmean(differences) if by_seed else student.quality.accuracy - other.quality.accuracy
    noise = noise_of_mean(differences) if by_seed else row_noise
    return Comparison(
        role=other.role,
        name=other.name,
        accuracy_gain=gain,
        noise=noise,
        row_noise=row_noise,
        differences=tuple(differences) if by_seed else (),
        point=student.point,
        generation=student.generation,
        verdict=_verdict(gain, noise),
        retention=student.quality.accuracy / other.quality.accuracy if other.quality.accuracy else None,
        size_reduction=other.size.parameters / student.size.parameters,
        speed_up=_speed_up(student.size, other.size),
    )


def held_against(model: ReportModel, ensemble: ReportModel, alpha: float) -> ReportModel:
    """The model with what it keeps of the ensemble's accuracy, how much smaller it is, and its distillation score."""
    if not (model.size and ensemble.size):
        return model
    reduction = ensemble.size.parameters / model.size.parameters
    if not (model.quality and ensemble.quality and ensemble.quality.accuracy):
        return model.model_copy(update={"size_reduction": reduction})
    retention = model.quality.accuracy / ensemble.quality.accuracy
    score = distillation_score(size_share=1 / reduction, accuracy_share=retention, alpha=alpha)
    return model.model_copy(update={"retention": retention, "size_reduction": reduction, "score": score})


def distillation_score(*, size_share: float, accuracy_share: float, alpha: float) -> float:
    """alpha * size_share + (1 - alpha) * (1 - accuracy_share); lower is better, below 0 only if better than the teacher.

    Args:
        size_share: the student's parameters divided by the teacher's.
        accuracy_share: the student's accuracy divided by the teacher's.
        alpha: how much size counts, in [0, 1].

    Source:
        Alkhulaifi, Alsahli, Ahmad (2021), Knowledge distillation in deep learning and its applications, PeerJ Computer
        Science 7:e474: the distillation score. The paper leaves open what size is; here it is parameters.
    """
    return alpha * size_share + (1 - alpha) * (1 - accuracy_share)


def noise_of_mean(differences: Sequence[float]) -> float:
    """Two standard errors of the mean of two or more differences: 2 s / sqrt(n), s the sample standard deviation."""
    return 2 * stdev(differences) / sqrt(len(differences))


def noise_of_difference(one: Quality, other: Quality) -> float:
    """Two standard errors of the difference of two proportions: sqrt(p1 (1 - p1) / n1 + p2 (1 - p2) / n2), times 2.

    Cautious where both are measured on the same rows, since models mostly fail on the same ones.
    """
    variance = sum(q.accuracy * (1 - q.accuracy) / q.num_rows for q in (one, other))
    return 2 * sqrt(variance)


def _verdict(gain: float, noise: float) -> Verdict:
    if abs(gain) <= noise:
        return "within_noise"
    return "better" if gain > 0 else "worse"


def _speed_up(student: Size, other: Size) -> dict[int, float]:
    if (student.latency_device, student.latency_threads) != (other.latency_device, other.latency_threads):
        return {}
    batches = [batch for batch in student.latency_ms if batch in other.latency_ms]
    return {batch: other.latency_ms[batch] / student.latency_ms[batch] for batch in batches}
