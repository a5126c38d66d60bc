"""A run keeps its weights on the way; they survive a cut, and are a teacher that a student can follow in order."""

from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis

from distill.contracts.datasets import DigitsData
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember, ResolvedTeacher
from distill.science.datasets import load
from distill.science.files import write_whole_folder
from distill.science.inference import predict
from distill.science.losses import soft_target_loss
from distill.science.weights import file_digest, load_model
from student_worker.session import Session
from teacher_server.examination import examine
from tests.student_worker.jobs import a_spec
from tests.student_worker.knowledge import a_job, accuracy, resumed, trained
from tests.teacher_server.small_teachers import a_version, folder_of, resolved

TRAINING = {"epochs": 6, "batch_size": 96, "optimizer": {"kind": "adamw", "lr": 0.01}, "snapshots": 3}


def a_run(settings: NodeSettings, job: str, **changes: Any) -> JobRecord:
    return a_job(settings, job, (), training=TRAINING, **changes)


def weights_of(session: Session, settings: NodeSettings) -> list[dict[str, torch.Tensor]]:
    """Of each snapshot, as whoever publishes it finds it."""
    return [load_model(settings.storage / one.path)[0].state_dict() for one in session.state.snapshots]


def test_snapshots_are_spread_evenly_and_the_last_is_the_end():
    assert a_spec(training={"epochs": 10, "snapshots": 3}).training.snapshot_epochs == (3, 6, 10)
    assert a_spec(training={"epochs": 4, "snapshots": 4}).training.snapshot_epochs == (1, 2, 3, 4)
    assert a_spec().training.snapshot_epochs == ()


@pytest.mark.parametrize(
    ("training", "said"), [({"epochs": 2, "snapshots": 3}, "there are 2"), ({"snapshots": 65}, "64")]
)
def test_more_snapshots_than_epochs_or_than_a_teacher_has_members_are_refused(training: dict[str, int], said: str):
    with pytest.raises(ValueError, match=said):
        a_spec(training=training)


def test_a_snapshot_is_what_the_student_was_when_a_run_was_paused_there(settings: NodeSettings, redis: Redis):
    session = trained(a_run(settings, "way"), settings, redis)
    assert [one.epoch for one in session.state.snapshots] == [2, 4, 6]
    steps_of_an_epoch = session.steps_done // 6
    paused = trained(a_run(settings, "way-paused"), settings, redis, stop_at=4 * steps_of_an_epoch)
    kept = weights_of(session, settings)
    for expected, got in ((paused, kept[1]), (session, kept[2])):
        assert all(torch.equal(tensor, got[name]) for name, tensor in expected.training.model.state_dict().items())
    for one in session.state.snapshots:
        assert file_digest(settings.storage / one.path / "model.safetensors") == one.digest


def test_a_run_that_was_cut_ends_with_the_snapshots_of_all_its_attempts(settings: NodeSettings, redis: Redis):
    whole = trained(a_run(settings, "whole-way"), settings, redis)
    # in the fifth epoch: the first attempt has kept those of epochs 2 and 4, the second keeps that of epoch 6
    again = resumed(a_run(settings, "cut-way"), settings, redis, cut=4 * (whole.steps_done // 6) + 3)
    assert [one.path for one in again.state.snapshots] == [
        "runs/cut-way/1/snapshots/epoch-0002",
        "runs/cut-way/1/snapshots/epoch-0004",
        "runs/cut-way/2/snapshots/epoch-0006",
    ]
    assert [one.digest for one in again.state.snapshots] == [one.digest for one in whole.state.snapshots]


def test_a_snapshot_newer_than_the_checkpoint_is_taken_again(settings: NodeSettings, redis: Redis):
    record = a_run(settings, "taken-again")
    first = trained(record, settings, redis)
    again = resumed(record, settings, redis, cut=5)  # all that the record knew of the first attempt
    assert {Path(one.path).parts[2] for one in again.state.snapshots} == {"2"}
    assert [one.digest for one in again.state.snapshots] == [one.digest for one in first.state.snapshots]


def test_a_student_with_heads_that_fold_is_kept_as_it_would_be_handed_over(settings: NodeSettings, redis: Redis):
    teacher = published(trained(a_run(settings, "to-fold"), settings, redis), settings, "to-fold")
    ensemble = {"combine": "per_member_heads", "aggregate": "mean_logit", "export": "folded"}
    training = TRAINING | {"epochs": 1, "snapshots": 1}
    objective = [{"kind": "soft_targets"}]
    record = a_job(settings, "folds", (teacher,), ensemble=ensemble, training=training, objective=objective)
    session = trained(record, settings, redis)
    inputs = load(DigitsData(source="digits"), settings).test_inputs
    [one] = session.state.snapshots
    kept, card = load_model(settings.storage / one.path)
    assert card.heads is None
    assert torch.allclose(predict(kept, inputs), predict(session.training.model, inputs), atol=1e-4)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    def torn(part: Path) -> None:
        (part / "first").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_whole_folder(tmp_path / "way" / "epoch-0001", torn)
    assert not (tmp_path / "way" / "epoch-0001").exists()
    write_whole_folder(tmp_path / "way" / "epoch-0001", lambda part: (part / "first").write_text("whole"))
    assert [path.name for path in (tmp_path / "way").iterdir()] == ["epoch-0001"]


def published(session: Session, settings: NodeSettings, name: str) -> ResolvedTeacher:
    """The run's snapshots as one version, in their order."""
    members = [CheckedMember(folder=one.path, job=name, epoch=one.epoch) for one in session.state.snapshots]
    manifest = examine(name, a_version(*members), folder_of(settings, name), settings)
    assert [member.epoch for member in manifest.members] == [2, 4, 6]
    return resolved(manifest)


def test_a_student_follows_the_trajectory_from_its_first_snapshot_to_its_last(settings: NodeSettings, redis: Redis):
    teacher = published(trained(a_run(settings, "led"), settings, redis), settings, "led")
    inputs = load(DigitsData(source="digits"), settings).test_inputs
    members = [load_model(folder_of(settings, "led") / f"member-{place}")[0] for place in range(3)]
    terms = [{"kind": "soft_targets", "temperature": {"kind": "linear", "start": 4.0, "stop": 1.0}}]
    training = TRAINING | {"epochs": 12, "snapshots": 0}
    following = {"combine": "mean_probability", "members": {"kind": "in_order"}}
    labels = {"source": "digits", "labels": {"kind": "none"}}

    record = a_job(
        settings, "follows", (teacher,), ensemble=following, training=training, objective=terms, dataset=labels
    )

    def distances(session: Session) -> list[float]:
        """KL(member || student) on test rows, in nats, of each member."""
        student_NC = predict(session.training.model, inputs)
        return [float(soft_target_loss(student_NC, predict(m, inputs), temperature=1.0)) for m in members]

    whole = trained(record, settings, redis)
    after_the_first = trained(record, settings, redis, stop_at=whole.steps_done // 3)
    assert accuracy(whole, settings) > 0.85
    assert distances(after_the_first)[0] < distances(after_the_first)[2]
    assert distances(whole)[2] < distances(whole)[0]
