"""Our losses against the figures of published implementations."""

import pytest
import torch

from tests.golden.figures import CLAIMS, all_figures
from tests.golden.table import main

FIGURES = all_figures()


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_our_loss_in_float32_gives_the_published_implementations_figure(figure):
    assert figure.ours(torch.float32) == pytest.approx(figure.value, rel=1e-5, abs=0)


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_our_loss_in_float64_is_as_near_as_a_figure_in_float32_can_be(figure):
    assert figure.ours(torch.float64) == pytest.approx(figure.value, rel=1e-6, abs=0)


def test_a_loss_claims_every_figure_and_no_claim_is_left_without_one():
    assert {figure.loss for figure in FIGURES} == set(CLAIMS)


def test_the_table_has_a_line_for_every_figure_and_says_the_largest_difference(capsys):
    main()

    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith("| ")]) == 1 + len(FIGURES)
    assert f"{len(FIGURES)} figures. Largest relative difference" in printed
