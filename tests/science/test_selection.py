"""Which rows are trained on, validated on and labelled."""

import pytest
import torch

from distill.contracts.datasets import AllLabels, CountLabels, Holdout, NoLabels, Rows
from distill.contracts.errors import InvalidData
from distill.science.datasets.selection import draw_balanced, select_rows

LABELS = torch.arange(1000) % 10
THOUSAND = {"rows": Rows(), "validation": Holdout(), "labels": AllLabels()}


def count(number, seed=0):
    return CountLabels(kind="count", count=number, seed=seed)


def test_validation_and_training_rows_share_the_range_and_nothing_else():
    chosen = select_rows(LABELS, **{**THOUSAND, "rows": Rows(start=100, stop=600)})

    assert len(chosen.validation_rows) == 50
    both = torch.cat([chosen.train_rows, chosen.validation_rows]).sort().values
    assert torch.equal(both, torch.arange(100, 600))


def test_labels_are_drawn_evenly_over_the_classes_from_rows_that_may_be_trained_on():
    chosen = select_rows(LABELS, **{**THOUSAND, "labels": count(103)})

    per_class = LABELS[chosen.labelled_rows].bincount(minlength=10)
    assert sorted(per_class.tolist()) == [10] * 7 + [11] * 3
    assert set(chosen.labelled_rows.tolist()) <= set(chosen.train_rows.tolist())


def test_a_class_that_runs_out_is_made_up_for_by_the_others():
    labels = torch.tensor([0] * 2 + [1] * 50 + [2] * 50)

    drawn = draw_balanced(labels, count=20, seed=0)

    assert labels[drawn].bincount().tolist() == [2, 9, 9]


def test_the_same_seed_draws_the_same_labels_and_another_draws_others():
    first, again, other = (
        select_rows(LABELS, **{**THOUSAND, "labels": count(50, seed)}).labelled_rows for seed in (0, 0, 1)
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_how_many_labels_are_asked_for_does_not_change_what_is_held_out():
    few, all_, none = (
        select_rows(LABELS, **{**THOUSAND, "labels": labels})
        for labels in (count(10), AllLabels(), NoLabels(kind="none"))
    )

    assert torch.equal(few.validation_rows, all_.validation_rows)
    assert torch.equal(all_.labelled_rows, all_.train_rows)
    assert len(none.labelled_rows) == 0
    assert torch.equal(none.train_rows, all_.train_rows)


def test_rows_without_a_label_are_trained_on_but_never_count_as_labelled():
    labels = torch.where(torch.arange(1000) < 500, LABELS, -1)

    chosen = select_rows(labels, **THOUSAND)

    assert len(chosen.train_rows) == 900
    assert labels[chosen.labelled_rows].min() == 0
    assert len(chosen.labelled_rows) == int((labels[chosen.train_rows] >= 0).sum())


@pytest.mark.parametrize(
    ("change", "field", "got"),
    [
        ({"rows": Rows(stop=1001)}, "dataset.rows.stop", "1001"),
        ({"rows": Rows(start=1000)}, "dataset.rows.start", "1000"),
        ({"labels": count(901)}, "dataset.labels.count", "901"),
        ({"rows": Rows(stop=1)}, "dataset.validation.fraction", "1 of 1 rows held out"),
    ],
)
def test_more_than_there_is_is_refused(change, field, got):
    with pytest.raises(InvalidData) as refused:
        select_rows(LABELS, **{**THOUSAND, **change})

    assert refused.value.details["field"] == field
    assert refused.value.details["got"] == got
