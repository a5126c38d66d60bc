"""Two ranks learn what one learns, and go on from a checkpoint as if they had not been cut."""

import pytest
import torch
from redis import Redis

from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from tests.student_worker.fakes import FakePool
from tests.student_worker.jobs import a_record, a_teacher, taught_by
from tests.student_worker.test_checkpoints import run
from tests.student_worker.two_ranks import Trained, trained_by_two

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


@pytest.fixture(scope="module")
def two(settings: NodeSettings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Trained]:
    """What two ranks learned in one go, and cut before step 7."""
    return trained_by_two(a_job("two-ranks"), settings, tmp_path_factory.mktemp("two-ranks"), cut=7)


def test_two_ranks_learn_what_one_learns_however_labels_are_spread(
    settings: NodeSettings, redis: Redis, two: tuple[Trained, Trained]
):
    weights, curve = two[0]
    alone, _ = run(a_job("one-rank"), settings, redis, pool=FakePool())
    for name, tensor in alone.training.model.state_dict().items():
        assert torch.allclose(tensor, weights[name], atol=1e-5)
    assert curve[0].train_loss == pytest.approx(alone.state.curve[0].train_loss, rel=1e-6)


def test_two_ranks_cut_inside_an_epoch_go_on_to_the_same_weights_and_loss(two: tuple[Trained, Trained]):
    (whole, whole_curve), (resumed, curve) = two
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert curve[0].train_loss == pytest.approx(whole_curve[0].train_loss, rel=1e-12)
