"""The tables of models: how good, how big, from what, and beside whom."""

from distill.contracts.report import Comparison, LearnedFrom, Nearness, Report, ReportModel
from services.reports.tables import NOTHING, table
from services.reports.words import count, factor, label, numbers, percent, points, quantity, seconds

_VERDICTS = {"better": "better", "within_noise": "within the noise", "worse": "worse"}


def quality_table(report: Report) -> str:
    """How good each model is, what it keeps of the ensemble, and its distillation score."""
    head = ["model", "", "accuracy", "NLL", "ECE", "agrees", "keeps", "smaller", "score"]
    found = table(head, (_quality_row(model) for model in report.models))
    return "\n\n".join(text for text in (found, _quality_legend(report)) if text)


def size_table(report: Report) -> str:
    """How big and how slow each model is."""
    head = ["model", "parameters", "file", "FLOPs", "ms, batch 1", "ms, batch 64", "peak memory, batch 64"]
    found = table(head, (_size_row(model) for model in report.models if model.size))
    legend = (
        "FLOPs (of one row) and milliseconds are of one forward pass. Peak memory is what a pass of 64 rows holds at its "
        "fullest moment beside weights and rows; an ensemble's members run one after the other."
    )
    return f"{found}\n\n{legend}" if found else ""


def comparisons_table(report: Report) -> str:
    """The student beside its baseline and the ensemble."""
    head = ["the student", "beside", "difference", "noise", "verdict", "accuracy kept", "smaller", "faster"]
    several = any(label(c.point, c.generation) for c in report.comparisons)
    rows = [_comparison_row(comparison) for comparison in report.comparisons]
    return table(head, rows) if several else table(head[1:], (row[1:] for row in rows))


def learned_from_table(report: Report) -> str:
    """The rows, labels and steps behind each model."""
    rows = [_learned_from_row(model, model.learned_from) for model in report.models if model.role != "ensemble"]
    return table(["model", "rows", "labels", "of", "rows in both ranges", "steps", "training time"], rows)


def nearness_words(report: Report) -> str:
    """A sentence for one student, a table for several."""
    if not report.nearness:
        return ""
    note = "Student and baseline of one seed begin with the same weights, which alone makes them agree more."
    if len(report.nearness) == 1:
        return f"{report.nearness[0].sentence} {note}"
    head = ["the student", "agrees with the ensemble", "with its baseline", "noise", "nearer to", "place between both"]
    place = "Place between both: 0 % is the baseline's accuracy, 100 % the ensemble's."
    return f"{table(head, (_nearness_row(near) for near in report.nearness))}\n\n{place} {note}"


def line_name(model: ReportModel) -> str:
    """Such as ``**student** fashion-small``."""
    return f"**{model.role}** {model.name}" if model.role == "student" else f"{model.role} {model.name}"


def accuracy_words(model: ReportModel) -> str:
    """Such as ``87.4 %``, or ``87.4 ± 0.3 %`` over seeds."""
    if model.quality is None:
        return NOTHING
    return _spread(model.quality.accuracy, model.deviation.accuracy if model.deviation else None)


def _quality_row(model: ReportModel) -> list[str]:
    quality = model.quality
    agreement_deviation = model.deviation.agreement if model.deviation else None
    return [
        line_name(model),
        model.architecture,
        accuracy_words(model),
        f"{quality.nll:.3f}" if quality else NOTHING,
        f"{quality.calibration_error:.3f}" if quality else NOTHING,
        _spread(model.agreement, agreement_deviation) if model.agreement is not None else NOTHING,
        percent(model.retention) if model.retention is not None else NOTHING,
        f"{factor(model.size_reduction)}x" if model.size_reduction is not None else NOTHING,
        f"{model.score:.3f}" if model.score is not None else NOTHING,
    ]


def _spread(share: float, deviation: float | None) -> str:
    return percent(share) if deviation is None else f"{100 * share:.1f} ± {100 * deviation:.1f} %"


def _quality_legend(report: Report) -> str:
    measured = next((model.quality for model in report.models if model.quality), None)
    if measured is None:
        return ""
    said = [
        f"Accuracy, negative log-likelihood (nats) and expected calibration error on {count(measured.num_rows)} test rows "
        f"that no choice was made on, of {_weights(report)}. Agrees: names the same class as the ensemble. "
        "Keeps: accuracy as a share of the ensemble's. Smaller: the ensemble's parameters divided by its own."
    ]
    if report.alpha is not None and any(model.score is not None for model in report.models):
        said.append(
            f"Score: {report.alpha:g} x its share of the ensemble's parameters + {1 - report.alpha:g} x (1 - keeps), lower is "
            "better (Alkhulaifi et al., 2021)."
        )
    seeds = [model.seeds for model in report.models if len(model.seeds) > 1]
    if seeds:
        each = numbers({seed for some in seeds for seed in some}, "seed")
        said.append(f"Students and baselines are means over {each}; ± is the sample standard deviation over them.")
    return " ".join(said)


def _weights(report: Report) -> str:
    """Whose weights the figures are of."""
    selected = [job.selected is not None for job in report.jobs if job.quality is not None]
    if any(selected):
        return "the weights that were handed over: those of the best epoch on validation rows" + (
            "" if all(selected) else ", or of the last epoch where none was selected"
        )
    return "the last epoch's weights"


def _size_row(model: ReportModel) -> list[str]:
    size = model.size
    assert size is not None, "only measured models have a row"  # noqa: S101
    return [
        line_name(model),
        quantity(size.parameters),
        f"{quantity(size.bytes)}B",
        quantity(size.flops),
        *(f"{size.latency_ms[batch]:.2f}" if batch in size.latency_ms else NOTHING for batch in (1, 64)),
        f"{quantity(size.peak_memory_bytes)}B" if size.peak_memory_bytes is not None else NOTHING,
    ]


def _comparison_row(c: Comparison) -> list[str]:
    return [
        label(c.point, c.generation),
        f"{c.role} {c.name}",
        signed_points(c.accuracy_gain),
        f"±{points(c.noise)}",
        _VERDICTS[c.verdict],
        percent(c.retention) if c.retention is not None else NOTHING,
        f"{factor(c.size_reduction)}x",
        ", ".join(f"{factor(ratio)}x (batch {batch})" for batch, ratio in sorted(c.speed_up.items())) or NOTHING,
    ]


def signed_points(difference: float) -> str:
    """Such as ``+8.4 points``."""
    return f"{'+' if difference > 0 else '-' if difference < 0 else ''}{points(difference)}"


def _learned_from_row(model: ReportModel, facts: LearnedFrom | None) -> list[str]:
    name = f"{model.role} {model.name}"
    if facts is None:
        return [name, "not known", *[NOTHING] * 5]
    overlap = "not known" if facts.overlap_rows is None else count(facts.overlap_rows)
    return [
        name,
        count(facts.num_rows),
        count(facts.num_labels),
        f"{facts.dataset} [{count(facts.rows_start)}, {count(facts.rows_stop)})",
        NOTHING if model.role == "student" else overlap,
        count(facts.steps) if facts.steps is not None else NOTHING,
        seconds(facts.seconds) if facts.seconds is not None else NOTHING,
    ]


def _nearness_row(near: Nearness) -> list[str]:
    return [
        label(near.point, near.generation),
        percent(near.to_ensemble),
        percent(near.to_baseline),
        f"±{points(near.noise)}",
        near.nearer,
        percent(near.position) if near.position is not None else NOTHING,
    ]
