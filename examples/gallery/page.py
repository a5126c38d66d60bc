"""The gallery's page: the table of all examples, what did not pay, and one head a member against averaged answers."""

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, stdev

from distill.contracts.base import now
from examples.gallery.rows import Row, accuracies, beyond
from examples.gallery.runs import ROOT
from student_worker.results import versions

AVERAGED = "mean-probability"
COMPARED = ("one-member", AVERAGED, "mean-logit", "each", "per-member-heads", "folded-heads")
"""Ways to learn from one ensemble, of the family `ensembles`: the job files differ in nothing else."""


def page(rows: Sequence[Row], skipped: Sequence[str], *, command: str) -> str:
    """The whole page in Markdown."""
    newest = max((result.at for row in rows for result in (*row.students, *row.baselines)), default=now())
    parts = [
        "# What each example is worth",
        f"Made by `{command}` on {newest:%Y-%m-%d}, on {os.cpu_count()} cores, one thread, no GPU; "
        + ", ".join(f"{name} {version}" for name, version in versions().items())
        + ".",
        _READING,
        table(rows),
        verdict(rows),
        *(["Skipped: " + "; ".join(skipped) + "."] if skipped else []),
        *_heads(rows),
    ]
    return "\n\n".join(parts) + "\n"


_READING = (
    "Accuracy on test rows, mean ± sample standard deviation over the training seeds; the teachers, the labelled rows and "
    "the test rows are the same for all seeds. The baseline is the same student at the same number of steps from the "
    "labels alone. The ensemble is measured as the job combines it. Seconds are the median training's, in one process. "
    "The weights of the terms come from a light search, two to five values on one seed or three, that looked at these "
    "very test rows: a gain of a point or two flatters."
)


def table(rows: Sequence[Row]) -> str:
    """One line an example, family by family."""
    head = (
        "| family | example | student | baseline | gain, points | ensemble | seconds |\n|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(_line(row) for row in rows)])


def verdict(rows: Sequence[Row]) -> str:
    """Where distillation pays and where not, from the rows alone."""
    compared = [row for row in rows if row.gain is not None]
    losers = [row for row in compared if not row.pays]
    said = (
        f"**Where it pays.** {len(compared) - len(losers)} of {len(compared)} examples with a baseline beat it by more "
        "than two standard errors of the mean difference at the same seed."
    )
    if not losers:
        return said
    named = ", ".join(f"{row.family}/{row.name} ({_points(row.gain)})" for row in losers)
    return f"{said}\n\n**Where it does not pay.** Not beyond that noise, or not at all: {named}."


def _heads(rows: Sequence[Row]) -> list[str]:
    """The second table, where all its rows are there."""
    by_name = {row.name: row for row in rows if row.family == "ensembles"}
    if not set(COMPARED) <= by_name.keys():
        return []
    averaged = by_name[AVERAGED]
    others = {name: beyond(by_name[name].students, averaged.students) for name in COMPARED if name != AVERAGED}
    lines = [_beside(by_name[name], others.get(name)) for name in COMPARED]
    return [
        "## A head for each member, averaged answers, one teacher",
        f"The same ensemble, labels, steps and student, {len(averaged.students)} seeds; the last column is the mean "
        "difference from `mean-probability` at the same seed, ± two standard errors of it.",
        "\n".join([_HEADS_HEAD, *lines]),
        _told(others),
    ]


_HEADS_HEAD = (
    "| how the student learns from them | student | parameters | beyond averaged answers, points |\n|---|---|---|---|"
)


def _told(others: dict[str, tuple[float, float | None]]) -> str:
    """Who differs from averaged answers, in words."""
    differing = [name for name, (gain, error) in others.items() if error is not None and abs(gain) > error]
    if not differing:
        return "None of them differs from averaged answers by more than that: here these ways are worth the same."
    return f"More than that from averaged answers differs: {', '.join(differing)}."


def _beside(row: Row, difference: tuple[float, float | None] | None) -> str:
    gain, error = difference or (None, None)
    told = _points(gain) + (f" ± {100 * error:.1f}" if error is not None else "")
    return f"| {_linked(row)} | {_share(accuracies(row.students))} | {row.students[0].parameters:,} | {told} |"


def _line(row: Row) -> str:
    ensembles = [result.ensemble for result in row.students if result.ensemble is not None]
    cells = [
        row.family,
        _linked(row),
        _share(accuracies(row.students)),
        _share(accuracies(row.baselines)) if row.baselines else "-",
        f"**{_points(row.gain)}**" if row.pays else _points(row.gain),
        f"{100 * fmean(ensembles):.1f} %" if ensembles else "-",
        f"{median(result.seconds for result in row.students):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _linked(row: Row) -> str:
    if not row.file.is_relative_to(ROOT):
        return row.name
    return f"[{row.name}](../{row.file.relative_to(ROOT).as_posix()})"


def _share(values: Sequence[float]) -> str:
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.1f} %{spread}"


def _points(gain: float | None) -> str:
    return "-" if gain is None else f"{100 * gain:+.1f}"


def write(text: str, file: Path) -> None:
    """Put the page where it belongs, whole."""
    part = file.with_suffix(".part")
    part.write_text(text)
    part.rename(file)
