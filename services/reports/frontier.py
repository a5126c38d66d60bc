"""What accuracy costs, over the student sizes of a sweep."""

from collections.abc import Sequence

from distill.contracts.report import Axis, Frontier, ReportModel
from services.reports.compare import noise_of_difference
from services.reports.words import percent, points, quantity, sentence

AXES: tuple[Axis, ...] = ("parameters", "flops", "latency")


def frontier(students: Sequence[ReportModel], ensemble: ReportModel | None, within: float) -> Frontier | None:
    """The Pareto fronts of the students, and the cheapest of those that keep enough of the ensemble's accuracy.

    Args:
        students: one a size, each the mean of its seeds.
        ensemble: whom they are held against.
        within: the share of its accuracy that may be lacking.

    Returns:
        None with fewer than two sizes measured.
    """
    measured = [model for model in students if model.quality and model.size and model.point is not None]
    if len(measured) < 2:
        return None
    near = [model for model in measured if _keeps(model, ensemble, within)]
    smallest, fastest = _cheapest(near, "parameters"), None
    if comparable(measured, "latency"):
        fastest = _cheapest(near, "latency")
    return Frontier(
        within=within,
        fronts={axis: pareto_front(measured, axis) for axis in AXES if comparable(measured, axis)},
        smallest=smallest.point if smallest else None,
        fastest=fastest.point if fastest else None,
        sentence=_sentence(measured, ensemble, within, smallest, fastest),
    )


def pareto_front(models: Sequence[ReportModel], axis: Axis) -> tuple[str, ...]:
    """Points that no other model equals or beats in cost and accuracy, and beats in one; from the cheapest up."""
    front = [model for model in models if not any(_beats(other, model, axis) for other in models)]
    return tuple(model.point or "" for model in sorted(front, key=lambda model: cost(model, axis)))


def cost(model: ReportModel, axis: Axis) -> float:
    """Parameters, floating-point operations of a row, or milliseconds of a row alone."""
    assert model.size is not None, "only measured models have a cost"  # noqa: S101
    return {
        "parameters": model.size.parameters,
        "flops": model.size.flops,
        "latency": model.size.latency_ms.get(1, 0.0),
    }[axis]


def comparable(models: Sequence[ReportModel], axis: Axis) -> bool:
    """Whether costs may be set beside each other: latencies only from one kind of device and number of threads."""
    sizes = [model.size for model in models if model.size is not None]
    places = {(size.latency_device, size.latency_threads) for size in sizes}
    return axis != "latency" or (len(places) == 1 and all(1 in size.latency_ms for size in sizes))


def _beats(other: ReportModel, model: ReportModel, axis: Axis) -> bool:
    dearer = cost(other, axis) - cost(model, axis)
    better = accuracy(other) - accuracy(model)
    return dearer <= 0 <= better and (dearer < 0 or better > 0)


def accuracy(model: ReportModel) -> float:
    """On the test rows."""
    assert model.quality is not None, "only measured models have an accuracy"  # noqa: S101
    return model.quality.accuracy


def _keeps(model: ReportModel, ensemble: ReportModel | None, within: float) -> bool:
    return ensemble is not None and ensemble.quality is not None and _slack(model, ensemble, within) >= -1e-9


def _slack(model: ReportModel, ensemble: ReportModel, within: float) -> float:
    """How far its accuracy lies above the least that counts as near."""
    return accuracy(model) - (1 - within) * accuracy(ensemble)


def _cheapest(models: Sequence[ReportModel], axis: Axis) -> ReportModel | None:
    return min(models, key=lambda model: (cost(model, axis), -accuracy(model)), default=None)


def _sentence(
    measured: Sequence[ReportModel],
    ensemble: ReportModel | None,
    within: float,
    smallest: ReportModel | None,
    fastest: ReportModel | None,
) -> str:
    if ensemble is None or ensemble.quality is None:
        return "There is no ensemble's accuracy to hold the sizes against."
    theirs = f"within {100 * within:g} % of the ensemble's {percent(accuracy(ensemble))}"
    if smallest is None:
        best = max(measured, key=accuracy)
        lack = percent(1 - accuracy(best) / accuracy(ensemble))
        return f"No student is {theirs}: the best, {best.point}, reaches {percent(accuracy(best))}, {lack} less."
    cheapest = (
        f"the cheapest student {theirs} is {smallest.point}, with {quantity(cost(smallest, 'parameters'))} parameters "
        f"and {percent(accuracy(smallest))}{_doubt(smallest, ensemble, within)}"
    )
    return sentence(cheapest, _fastest(smallest, fastest))


def _doubt(model: ReportModel, ensemble: ReportModel, within: float) -> str:
    """Said where it is near enough by less than the noise."""
    assert model.quality and ensemble.quality, "only measured models are near"  # noqa: S101, PT018
    slack, noise = _slack(model, ensemble, within), noise_of_difference(model.quality, ensemble.quality)
    return f" (by {points(slack)}, less than the noise of ±{points(noise)})" if slack < noise else ""


def _fastest(smallest: ReportModel, fastest: ReportModel | None) -> str | None:
    if fastest is None:
        return None
    if fastest.point == smallest.point:
        return "it is the fastest such too"
    return f"the fastest such is {fastest.point}, {cost(fastest, 'latency'):.2f} ms for a row alone"
