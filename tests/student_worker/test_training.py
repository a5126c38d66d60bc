"""The objective over a batch that ranks share.

Shapes: N rows, M members, C classes.
"""

import pytest
import torch

from distill.contracts.ensemble import MeanProbability
from distill.contracts.objective import LabelsTerm, SoftTargetsTerm
from distill.science.objective import MemberLayout, Targets
from student_worker.batches import Batch, Cursor
from student_worker.training import SharedObjective


def objective(world_size: int) -> SharedObjective:
    terms = (LabelsTerm(kind="labels", weight=0.3), SoftTargetsTerm(kind="soft_targets", weight=0.7))
    return SharedObjective(terms, ensemble=MeanProbability(), layout=MemberLayout.of([(1.0, 2)]), world_size=world_size)


def test_the_mean_over_ranks_is_the_loss_of_the_whole_batch_however_labels_are_spread():
    torch.manual_seed(0)
    student_NC, logits_NMC = torch.randn(8, 5), torch.randn(8, 2, 5)
    labels_N = torch.tensor([1, -1, -1, -1, 2, 3, 0, -1])

    def loss(rows: slice, world_size: int) -> float:
        batch = Batch(Cursor(), torch.zeros(8)[rows], labels_N[rows], num_labelled=4)
        return float(objective(world_size)(student_NC[rows], batch, Targets(logits_NMC[rows])))

    whole = loss(slice(0, 8), 1)
    shared = [loss(slice(0, 4), 2), loss(slice(4, 8), 2)]
    assert sum(shared) / 2 == pytest.approx(whole, rel=1e-6)
