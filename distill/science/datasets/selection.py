"""Which rows a job may train on, whose labels it may use, and what it holds back: pure functions of labels and seeds.

Shapes: N rows of the training split.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.contracts.datasets import CountLabels, Holdout, Labels, NoLabels, Rows
from distill.science.datasets.raw import invalid


@dataclass(frozen=True)
class Selection:
    """Row numbers of the training split, int64, each set in rising order."""

    train_rows: Tensor
    """May be trained on."""
    labelled_rows: Tensor
    """The part of ``train_rows`` whose labels may be used."""
    validation_rows: Tensor
    """Nobody trains on them."""


def select_rows(labels_N: Tensor, *, rows: Rows, validation: Holdout, labels: Labels) -> Selection:
    """Take the range, then hold out validation rows, then draw labels from what is left.

    Args:
        labels_N: class numbers, (N,) int64, -1 where a row has none.
        rows: the range of the training split that is used.
        validation: its share is drawn by its seed, at least one row.
        labels: which labels may be used.

    Raises:
        InvalidData: the range goes beyond the data, nothing is left to train on, or too few labels are there.
    """
    used = _range(len(labels_N), rows)
    order = torch.randperm(len(used), generator=torch.Generator().manual_seed(validation.seed))
    num_held = max(1, round(validation.fraction * len(used)))
    if num_held >= len(used):
        raise invalid(
            "dataset.validation.fraction",
            "no row is left to train on",
            expected="at least 2 rows used, and a share < 1",
            got=f"{num_held} of {len(used)} rows held out",
        )
    train_rows = used[order[num_held:].sort().values]
    return Selection(
        train_rows=train_rows,
        labelled_rows=_labelled(labels_N, train_rows, labels),
        validation_rows=used[order[:num_held].sort().values],
    )


def draw_balanced(labels_N: Tensor, *, count: int, seed: int) -> Tensor:
    """``count`` of N rows, as even over their classes as can be, in rising order.

    Classes take turns; one that runs out is passed over; those that get the odd rows are drawn by the seed too.
    """
    order = torch.randperm(len(labels_N), generator=torch.Generator().manual_seed(seed))
    turn = _turns(labels_N[order])
    return order[turn.argsort(stable=True)[:count]].sort().values


def _turns(labels_N: Tensor) -> Tensor:
    """For each row, how many rows of its class stand before it."""
    by_class = labels_N.argsort(stable=True)
    sizes = labels_N.bincount()
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    turn = torch.empty_like(labels_N)
    turn[by_class] = torch.arange(len(labels_N)) - starts
    return turn


def _range(num_rows: int, rows: Rows) -> Tensor:
    stop = num_rows if rows.stop is None else rows.stop
    if stop > num_rows:
        raise invalid("dataset.rows.stop", "it lies beyond the data", expected=f"at most {num_rows}", got=str(stop))
    if rows.start >= stop:
        raise invalid("dataset.rows.start", "it lies beyond the data", expected=f"below {stop}", got=str(rows.start))
    return torch.arange(rows.start, stop)


def _labelled(labels_N: Tensor, train_rows: Tensor, labels: Labels) -> Tensor:
    known = train_rows[labels_N[train_rows] >= 0]
    if isinstance(labels, NoLabels):
        return known[:0]
    if not isinstance(labels, CountLabels):
        return known
    if labels.count > len(known):
        raise invalid(
            "dataset.labels.count",
            "more labels are asked for than there are",
            expected=f"at most {len(known)}",
            got=str(labels.count),
            hint="validation rows are held out before labels are drawn",
        )
    return known[draw_balanced(labels_N[known], count=labels.count, seed=labels.seed)]
