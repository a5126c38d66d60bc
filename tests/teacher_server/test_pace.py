"""Whether members run as one forward pass: only where that is faster, possible, and the same."""

import logging

import pytest
import torch
from torch import Tensor, nn

from distill.contracts.models import VectorInput
from distill.science.models import Classifier
from teacher_server.examination import examine
from teacher_server.folder import write_manifest
from teacher_server.pace import Pace, faster, measure_pace
from teacher_server.runner import Ensemble
from tests.teacher_server.small_teachers import MLP, a_version, folder_of, resolved

FEATURES = VectorInput(features=4, mean=(0.0,) * 4, std=(1.0,) * 4)


def measured(*nets: nn.Module) -> Pace:
    return measure_pace(
        [Classifier(net, input=FEATURES) for net in nets],
        input=FEATURES,
        num_classes=2,
        device=torch.device("cpu"),
        max_batch_rows=64,
        precision="fp32",
    )


@pytest.mark.parametrize(
    ("together_s", "pace"),
    [
        ([0.08, 0.4, 0.08], Pace(128 / 0.08, fused=True)),
        ([0.095, 0.095, 0.095], Pace(128 / 0.1, fused=False)),
        ([0.01, 0.01], Pace(128 / 0.1, fused=False)),
    ],
    ids=["a fifth faster, but for one window", "too little faster", "too few windows"],
)
def test_members_are_fused_only_where_the_medians_differ_by_a_tenth(together_s, pace):
    assert faster(128, [0.1, 0.1, 0.9], together_s) == pace


class Branching(nn.Module):
    """Does one thing or another, depending on its weights: torch can't map that over several."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, values_NF: Tensor) -> Tensor:
        logits_NC: Tensor = self.head(values_NF)
        return logits_NC if self.head.bias.sum() > 0 else -logits_NC


class Scaled(nn.Module):
    """A factor that is no weight, and that its name doesn't show."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.head = nn.Linear(4, 2)

    def forward(self, values_NF: Tensor) -> Tensor:
        logits_NC: Tensor = self.head(values_NF)
        return self.factor * logits_NC


def test_members_that_cannot_run_as_one_are_not_fused(caplog):
    with caplog.at_level(logging.INFO):
        assert not measured(Branching(), Branching()).fused
    assert "can't run as one forward pass" in caplog.text


def test_members_that_only_look_alike_are_not_fused(caplog):
    with caplog.at_level(logging.INFO):
        assert not measured(Scaled(1.0), Scaled(2.0)).fused
    assert "their answers would differ" in caplog.text


def test_members_of_one_architecture_are_tried_both_ways_and_a_single_one_is_not(caplog):
    with caplog.at_level(logging.INFO):
        assert measured(nn.Linear(4, 2)).rows_per_s > 0
        assert not caplog.text
        assert measured(nn.Linear(4, 2), nn.Linear(4, 2)).rows_per_s > 0
    assert "rows/s as one forward pass" in caplog.text


def test_what_the_check_found_is_how_a_version_is_loaded(settings, make_member):
    folder = folder_of(settings, "pair")
    pair = resolved(examine("pair", a_version(make_member(MLP), make_member(MLP, seed=1)), folder, settings))
    for fused in (True, False):
        write_manifest(folder, pair.manifest.model_copy(update={"fused": fused}))
        ensemble = Ensemble.load(folder, digest=pair.digest, device=torch.device("cpu"), max_batch_rows=64)
        assert ensemble.is_fused == fused
