"""Two ranks learn what one learns, whatever the scheme, and go on from a checkpoint as if they had not been cut."""

from typing import Any

import pytest
import torch
from redis import Redis

from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from examples.in_process import teachers_here
from student_worker.session import Session
from tests.student_worker import knowledge
from tests.student_worker.fakes import FakePool
from tests.student_worker.jobs import a_record, a_teacher, taught_by
from tests.student_worker.knowledge import a_trained_teacher
from tests.student_worker.test_checkpoints import run
from tests.student_worker.two_ranks import Trained, fake_pool, trained_by_two

# its mask token is a parameter that no forward pass uses
DINOV2 = {
    "source": "transformers",
    "model_type": "dinov2",
    "config": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 4},
}


def a_job(job: str) -> JobRecord:
    teacher = a_teacher(classes=tuple("0123456789"))
    training = {"epochs": 1, "batch_size": 128, "gradient_clip": 1.0}
    return a_record(job, taught_by(teacher, student=DINOV2, training=training), teachers=(teacher,))


MLP = {"source": "zoo", "name": "mlp", "args": {"hidden": [24, 16]}}
HINT = {"kind": "hint", "pairs": [{"student": "stages.1", "teacher": "head"}]}
EARLY = {"at": "stages.0", "weight": 0.5}
SCHEMES: dict[str, dict[str, Any]] = {
    "peers": {
        "scheme": {"kind": "online", "peers": [MLP], "fusion": {"taps": ["stages.1", "stages.1"], "channels": 8}},
        "objective": [
            {"kind": "labels"},
            {"kind": "labels", **EARLY},
            HINT,
            {"kind": "soft_targets", "target": {"from": "peers"}},
            {"kind": "decoupled", "target": {"from": "fused"}},
        ],
    },
    "itself": {
        "scheme": {"kind": "self", "average": {"decay": 0.9}},
        "objective": [
            {"kind": "labels"},
            HINT | {"weight": {"kind": "linear", "start": 1, "stop": 0, "end": 0.5}},
            {"kind": "soft_targets", "target": {"from": "self"}, **EARLY},
            {"kind": "soft_targets", "target": {"from": "average"}},
        ],
    },
    # the bridges and the heads of whoever is not asked stay without a gradient
    "one after the other": {
        "ensemble": {"combine": "per_member_heads", "members": {"kind": "in_order"}},
        "objective": [{"kind": "labels"}, {"kind": "soft_targets"}, HINT],
    },
    "label-aware": {
        "ensemble": {"combine": "label_aware"},
        "objective": [{"kind": "soft_targets"}, {"kind": "soft_targets", **EARLY}, HINT],
    },
}

VIEW: dict[str, Any] = {
    "student": {"source": "zoo", "name": "cnn", "args": {"width": 4}},
    "scheme": {"kind": "self", "view": {"transform": "flip"}},
    "objective": [
        {"kind": "labels"},
        {"kind": "soft_targets"},
        {"kind": "attention", "pairs": [{"student": "stages.1", "teacher": "stages.1"}], "target": {"from": "view"}},
    ],
}
"""Its batch norm sees each rank's share, so two ranks learn something else than one; but they go on from a checkpoint."""


@pytest.fixture(scope="module")
def two(settings: NodeSettings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Trained]:
    """What two ranks learned in one go, and cut before step 7."""
    record, folder = a_job("two-ranks"), tmp_path_factory.mktemp("two-ranks")
    return trained_by_two([record], settings, folder, cut=7, open_pool=fake_pool)[record.id]


@pytest.fixture(scope="module")
def jobs(settings: NodeSettings) -> dict[str, JobRecord]:
    """Jobs of several schemes, on the same teacher."""
    wise = a_trained_teacher(settings, "of-two-ranks")
    training = {"epochs": 1, "batch_size": 128, "gradient_clip": 1.0}
    return {
        name: knowledge.a_job(
            settings, f"by-two-{place}", (wise,), **({"student": MLP, "training": training} | changes)
        )
        for place, (name, changes) in enumerate((SCHEMES | {"view": VIEW}).items())
    }


@pytest.fixture(scope="module")
def by_two(
    settings: NodeSettings, jobs: dict[str, JobRecord], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Trained, Trained]]:
    """What two ranks learned of each, in one go, and cut before step 4."""
    folder = tmp_path_factory.mktemp("by-two")
    found = trained_by_two(list(jobs.values()), settings, folder, cut=4, open_pool=teachers_here)
    return {name: found[job.id] for name, job in jobs.items()}


def test_two_ranks_learn_what_one_learns_however_labels_are_spread(
    settings: NodeSettings, redis: Redis, two: tuple[Trained, Trained]
):
    alone, _ = run(a_job("one-rank"), settings, redis, pool=FakePool())
    same(two[0], alone)


def test_two_ranks_cut_inside_an_epoch_go_on_to_the_same_weights_and_loss(two: tuple[Trained, Trained]):
    went_on(*two)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_two_ranks_train_all_that_a_scheme_trains_as_one_does(
    settings: NodeSettings,
    redis: Redis,
    jobs: dict[str, JobRecord],
    by_two: dict[str, tuple[Trained, Trained]],
    scheme: str,
):
    record = jobs[scheme].model_copy(update={"id": f"{jobs[scheme].id}-alone"})
    alone = knowledge.trained(record, settings, redis)
    same(by_two[scheme][0], alone)


@pytest.mark.parametrize("scheme", [*SCHEMES, "view"])
def test_two_ranks_of_any_scheme_go_on_from_a_checkpoint(by_two: dict[str, tuple[Trained, Trained]], scheme: str):
    went_on(*by_two[scheme])


def same(trained: Trained, alone: Session) -> None:
    """See that two ranks have learned what one has."""
    everything, curve = trained
    for name, tensor in alone.training.learner.state_dict().items():
        torch.testing.assert_close(
            everything[name], tensor, atol=1e-5, rtol=0, msg=lambda said, name=name: f"{name}: {said}"
        )
    assert curve[0].train_loss == pytest.approx(alone.state.curve[0].train_loss, rel=1e-5)


def went_on(whole: Trained, resumed: Trained) -> None:
    """See that a cut changed nothing."""
    assert [name for name, tensor in whole[0].items() if not torch.equal(tensor, resumed[0][name])] == []
    assert resumed[1][0].train_loss == pytest.approx(whole[1][0].train_loss, rel=1e-12)
