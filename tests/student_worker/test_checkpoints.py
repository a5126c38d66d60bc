"""A training cut at any step goes on bit by bit; a checkpoint that isn't what was saved is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis

from distill.contracts.errors import InvalidWeights
from distill.contracts.records import CheckpointRef, JobRecord
from distill.contracts.settings import NodeSettings
from distill.science.datasets import load
from student_worker import checkpoints
from student_worker.checkpoints import TrainingState, restore
from student_worker.plan import Plan
from student_worker.pool import Pool
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.session import Session
from student_worker.setup import make_training, prepare
from tests.student_worker.fakes import FakePool
from tests.student_worker.jobs import a_record, a_spec, a_teacher, taught_by

CPU = torch.device("cpu")
DIGITS = tuple("0123456789")
MOVING = {
    "dataset": {
        "source": "digits",
        "labels": {"kind": "count", "count": 200},
        "augmentation": {"policy": "crop-flip", "views": 2},
    },
    "student": {"source": "zoo", "name": "mlp", "args": {"hidden": [16], "dropout": 0.5}},
}
SGD = {"epochs": 3, "batch_size": 128, "schedule": {"kind": "cosine", "warmup_steps": 3}}
ADAM = SGD | {"optimizer": {"kind": "adamw"}, "gradient_clip": 1.0}


def run(
    record: JobRecord,
    settings: NodeSettings,
    redis: Redis,
    *,
    attempt: int = 1,
    stop_at: int | None = None,
    pool: Pool | None = None,
) -> tuple[Session, Stop]:
    """Train in this process, and pause before step ``stop_at``."""
    plan = Plan(record=record, attempt=attempt, started_at=0.0, checked_at=0.0, num_steps=30)
    reporter = Reporter(None, attempt=attempt, training=record.spec.training, num_steps=30)
    dataset = load(record.spec.dataset, settings)
    sessions: list[Session] = []

    def wanted() -> Stop:
        return Stop.PAUSE if sessions[0].steps_done == stop_at else Stop.NO

    ranks = Ranks(0, 1, CPU)
    training = make_training(plan, settings, redis, ranks, dataset)
    session, lessons = prepare(
        plan, settings, ranks, reporter, dataset, training, pool, wanted=wanted, applied=lambda: None
    )
    sessions.append(session)
    return session, session.teach(lessons)


def saved_at(record: JobRecord, settings: NodeSettings, step: int) -> JobRecord:
    """The record, once the control plane has applied the checkpoint of ``step``."""
    folder = settings.storage / "runs" / record.id / "1" / "checkpoints" / f"step-{step:08d}"
    path = folder.relative_to(settings.storage).as_posix()
    reference = CheckpointRef(path=path, digest=checkpoints.digest(folder), epoch=step // 10, step=step, attempt=1)
    return record.model_copy(update={"checkpoint": reference})


def weights(session: Session) -> dict[str, Any]:
    return session.training.model.state_dict()


@pytest.mark.parametrize("training", [SGD, ADAM], ids=["sgd", "adamw"])
@pytest.mark.parametrize("cut", [7, 10, 24])
def test_a_run_cut_at_a_step_ends_with_the_weights_of_one_that_was_not(
    settings: NodeSettings, redis: Redis, training: dict[str, Any], cut: int
):
    spec = a_spec(training=training, **MOVING)
    whole, _ = run(a_record(f"whole-{cut}", spec), settings, redis)
    cut_record = a_record(f"cut-{cut}-{len(training)}", spec)
    _, stop = run(cut_record, settings, redis, stop_at=cut)
    assert stop is Stop.PAUSE
    resumed, _ = run(saved_at(cut_record, settings, cut), settings, redis, attempt=2)
    assert all(torch.equal(tensor, weights(resumed)[name]) for name, tensor in weights(whole).items())
    assert [point.train_loss for point in resumed.state.curve] == [point.train_loss for point in whole.state.curve]


def test_a_taught_run_resumes_to_the_same_weights_too(settings: NodeSettings, redis: Redis):
    teacher = a_teacher(classes=DIGITS)
    record = a_record("taught", taught_by(teacher, training=SGD, **MOVING), teachers=(teacher,))
    whole, _ = run(record, settings, redis, attempt=9, pool=FakePool())
    run(record, settings, redis, stop_at=13, pool=FakePool())
    resumed, _ = run(saved_at(record, settings, 13), settings, redis, attempt=2, pool=FakePool())
    assert all(torch.equal(tensor, weights(resumed)[name]) for name, tensor in weights(whole).items())


def test_without_a_teacher_the_step_is_not_taken_and_a_checkpoint_says_where(settings: NodeSettings, redis: Redis):
    teacher = a_teacher(classes=DIGITS)
    record = a_record("waits", taught_by(teacher, training=SGD), teachers=(teacher,))
    session, stop = run(record, settings, redis, pool=FakePool(windows=2))
    assert stop is Stop.WAITED
    assert session.steps_done == 3  # windows of one batch, then of two
    assert saved_at(record, settings, 3).checkpoint is not None


def test_the_records_checkpoint_and_what_is_newer_stay(tmp_path: Path):
    folders = [tmp_path / f"step-{step:08d}" for step in (10, 20, 30)]
    for folder in folders:
        folder.mkdir()
    for unknown in (None, tmp_path / "of-an-earlier-attempt" / "step-00000099"):
        checkpoints.prune(tmp_path, applied=unknown)
        assert sorted(tmp_path.iterdir()) == folders
    checkpoints.prune(tmp_path, applied=folders[1])
    assert sorted(tmp_path.iterdir()) == folders[1:]


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_off, flip, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused(
    settings: NodeSettings, redis: Redis, damage: Callable[[Path], object], name: str
):
    record = a_record("damaged", a_spec(training=SGD))
    session, _ = run(record, settings, redis, stop_at=2)
    reference = saved_at(record, settings, 2).checkpoint
    assert reference is not None
    damage(settings.storage / reference.path / name)
    with pytest.raises(InvalidWeights, match="torn, or was changed"):
        restore(settings.storage / reference.path, session.training, expected_digest=reference.digest)


def test_a_checkpoint_of_another_student_is_refused(settings: NodeSettings, redis: Redis):
    small = a_record("narrow", a_spec(training=SGD))
    run(small, settings, redis, stop_at=2)
    wide = a_record("wide", a_spec(training=SGD, student={"source": "zoo", "name": "mlp", "args": {"hidden": [32]}}))
    wide = wide.model_copy(update={"checkpoint": saved_at(small, settings, 2).checkpoint})
    with pytest.raises(InvalidWeights, match="doesn't fit this student"):
        run(wide, settings, redis)


def test_a_loss_that_is_no_number_ends_the_training_without_a_checkpoint(settings: NodeSettings, redis: Redis):
    training = SGD | {"optimizer": {"kind": "sgd", "lr": 1e30}}
    _, stop = run(a_record("diverges", a_spec(training=training)), settings, redis)
    assert stop is Stop.DIVERGED
    assert not (settings.storage / "runs" / "diverges").exists()


def test_a_state_keeps_every_bit_of_its_numbers():
    state = TrainingState(epoch=1, step=2, loss_sum=0.1 + 0.2, seconds=1 / 3)
    assert TrainingState.model_validate_json(state.model_dump_json()) == state
