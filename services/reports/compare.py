"""The student beside another model: what is a difference, and what is noise."""

from math import sqrt

from distill.contracts.measures import Quality, Size
from distill.contracts.report import Comparison, ReportModel, Verdict


def compare(student: ReportModel, other: ReportModel) -> Comparison | None:
    """Set the student beside ``other``; None where one of them was not measured."""
    if not (student.quality and student.size and other.quality and other.size):
        return None
    gain = student.quality.accuracy - other.quality.accuracy
    noise = noise_of_difference(student.quality, other.quality)
    return Comparison(
        role=other.role,
        name=other.name,
        accuracy_gain=gain,
        noise=noise,
        verdict=_verdict(gain, noise),
        retention=student.quality.accuracy / other.quality.accuracy if other.quality.accuracy else None,
        size_reduction=other.size.parameters / student.size.parameters,
        speed_up=_speed_up(student.size, other.size),
    )


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
