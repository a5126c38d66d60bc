"""Every kind of knowledge, way of combining and scheme: each teaches, and each goes on from a checkpoint bit by bit."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from redis import Redis

from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import ResolvedTeacher
from student_worker.session import Session
from tests.student_worker.knowledge import a_job, a_trained_teacher, accuracy, resumed, trained

STAGES = [{"student": "stages.1", "teacher": "stages.1"}]
POOLED = [{"student": "pool", "teacher": "pool"}]
FLOW = [{"student": ["stages.0", "stages.1"], "teacher": ["stages.0", "stages.1"]}]

ANSWERS: dict[str, dict[str, Any]] = {
    "soft targets": {"kind": "soft_targets"},
    "standardised": {"kind": "soft_targets", "standardise": True, "temperature": 2.0, "weight": 4.0},
    "reverse KL": {"kind": "reverse_kl"},
    "Jensen-Shannon": {"kind": "jensen_shannon", "weight": 4.0},
    "skewed KL": {"kind": "skewed_kl"},
    "total variation": {"kind": "total_variation", "weight": 3.0},
    "logits": {"kind": "logits"},
    "decoupled": {"kind": "decoupled"},
    "DIST": {"kind": "dist", "inter": 2.0, "intra": 2.0},
}
FEATURES: dict[str, dict[str, Any]] = {
    "hint": {"kind": "hint", "pairs": STAGES},
    "hints at two layers": {"kind": "hint", "pairs": [*STAGES, *POOLED]},
    "attention, code": {"kind": "attention", "pairs": STAGES, "weight": 100.0},
    "attention, paper": {"kind": "attention", "form": "paper", "pairs": STAGES},
    "flow": {"kind": "flow", "pairs": FLOW},
    "neuron selectivity": {"kind": "neuron_selectivity", "pairs": STAGES},
    "distances": {"kind": "relational_distance", "pairs": POOLED, "weight": 10.0},
    "angles": {"kind": "relational_angle", "pairs": POOLED, "weight": 10.0},
    "similarities": {"kind": "similarity_preserving", "pairs": STAGES, "weight": 100.0},
    "correlations": {"kind": "correlation", "pairs": POOLED, "weight": 10.0},
    "correlations, code": {"kind": "correlation", "form": "code", "pairs": POOLED},
    "neighbours": {"kind": "probabilistic_transfer", "pairs": POOLED, "weight": 100.0},
    "contrastive": {"kind": "contrastive", "pairs": POOLED, "dimension": 16},
}
COMBINED: dict[str, dict[str, Any]] = {
    "mean logit": {"combine": "mean_logit"},
    "geometric mean": {"combine": "geometric_mean"},
    "own weights": {"combine": "weighted", "weights": [1.0, 3.0]},
    "entropy": {"combine": "entropy"},
    "label-aware": {"combine": "label_aware"},
    "each": {"combine": "each"},
    "a head for each": {"combine": "per_member_heads"},
    "heads that fold": {"combine": "per_member_heads", "aggregate": "mean_logit", "export": "folded"},
    "one at random": {"combine": "mean_probability", "members": {"kind": "random"}},
    "the best": {"combine": "mean_probability", "members": {"kind": "best"}},
    "a trajectory": {"combine": "mean_probability", "members": {"kind": "in_order"}},
    "one, then both": {
        "combine": "mean_probability",
        "members": {"kind": "steps", "values": [[1], [0, 1]], "at": [0.3]},
    },
}


SOON = {"soft targets", "decoupled", "DIST", "hint", "attention, code", "distances", "similarities", "contrastive",
        "label-aware", "each", "a head for each", "the best"}  # fmt: skip
"""One of each family; the others take a minute more."""


def tiered(kinds: Iterable[str]) -> list[Any]:
    return [kind if kind in SOON else pytest.param(kind, marks=pytest.mark.long) for kind in kinds]


@pytest.fixture(scope="module")
def wise(settings: NodeSettings) -> ResolvedTeacher:
    return a_trained_teacher(settings)


def goes_on(record: JobRecord, whole: Session, settings: NodeSettings, redis: Redis, *, cut: int = 15) -> None:
    """See that two attempts end where one did."""
    cut_short = record.model_copy(update={"id": f"{record.id}-cut"})
    again = resumed(cut_short, settings, redis, cut=cut).training
    expected, got = whole.training.learner.state_dict(), again.learner.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []


@pytest.mark.parametrize("kind", tiered(ANSWERS))
def test_answers_alone_teach_a_student_that_never_sees_a_label(
    settings: NodeSettings, redis: Redis, wise: ResolvedTeacher, kind: str
):
    record = a_job(
        settings, f"answers-{list(ANSWERS).index(kind)}", (wise,), dataset={"source": "digits", "labels": {"kind": "none"}},
        objective=[ANSWERS[kind]], training={"epochs": 12, "batch_size": 96, "optimizer": {"kind": "adamw", "lr": 0.01}},
    )  # fmt: skip
    assert accuracy(trained(record, settings, redis), settings) > 0.85


@pytest.mark.parametrize("kind", tiered(FEATURES))
def test_the_student_comes_nearer_to_the_teachers_features_and_goes_on_from_a_checkpoint(
    settings: NodeSettings, redis: Redis, wise: ResolvedTeacher, kind: str
):
    training = {"epochs": 4, "batch_size": 96, "optimizer": {"kind": "adamw", "lr": 0.01}}
    record = a_job(
        settings, f"features-{list(FEATURES).index(kind)}", (wise,), objective=[FEATURES[kind]], training=training
    )
    whole = trained(record, settings, redis)
    curve = whole.state.curve
    assert curve[-1].train_loss < 0.9 * curve[0].train_loss
    goes_on(record, whole, settings, redis)


@pytest.mark.parametrize("how", tiered(COMBINED))
def test_an_ensemble_teaches_however_it_is_combined_and_goes_on_from_a_checkpoint(
    settings: NodeSettings, redis: Redis, wise: ResolvedTeacher, how: str
):
    record = a_job(
        settings, f"combined-{list(COMBINED).index(how)}", (wise,), ensemble=COMBINED[how],
        objective=[{"kind": "labels", "weight": 0.1}, {"kind": "soft_targets", "weight": 0.9}],
        training={"epochs": 8, "batch_size": 96, "optimizer": {"kind": "adamw", "lr": 0.01}},
    )  # fmt: skip
    whole = trained(record, settings, redis)
    assert accuracy(whole, settings) > 0.85
    goes_on(record, whole, settings, redis)
