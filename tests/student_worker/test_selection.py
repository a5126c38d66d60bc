"""Validation rows decide which epoch is handed over and when it is enough, and a cut changes neither."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from redis import Redis
from safetensors.torch import save_file

from distill.contracts.datasets import AllLabels, Holdout, Rows
from distill.contracts.errors import InvalidSpec, InvalidWeights
from distill.contracts.job import EvaluationSpec
from distill.contracts.measures import CurvePoint, best_point
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.study import StudySpec
from distill.science.datasets import load
from distill.science.datasets.selection import select_rows
from distill.science.inference import predict
from distill.science.weights import load_model
from examples.in_process import keep, train
from student_worker import checkpoints
from student_worker.check import check
from student_worker.ranks import Stop
from student_worker.selection import is_out_of_patience
from student_worker.session import Session
from tests.student_worker import test_loop
from tests.student_worker.jobs import a_record, a_spec, a_teacher, taught_by
from tests.student_worker.knowledge import resumed, trained
from tests.student_worker.two_ranks import fake_pool, trained_by_two

STEPS = 10
"""Of an epoch."""
TOO_FAST = {"epochs": 8, "batch_size": 128, "optimizer": {"kind": "sgd", "lr": 0.3}}
"""Its validation accuracies: 65.3, 87.5, 87.5, 86.8, 86.8, 86.8, 86.8, 87.5 %."""


def a_curve(*accuracies: float | None) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            epoch=epoch,
            step=epoch,
            train_loss=1,
            learning_rate=1,
            seconds=1,
            rows_per_s=1,
            validation_accuracy=accuracy,
        )
        for epoch, accuracy in enumerate(accuracies, 1)
    )


def read_by_hand(accuracies: Sequence[float], patience: int) -> tuple[int, int]:
    """The best epoch so far and the epoch itself, where so many in a row were no better; else of the whole curve."""
    best, chosen, waited = -1.0, 0, 0
    for epoch, accuracy in enumerate(accuracies, 1):
        best, chosen, waited = (accuracy, epoch, 0) if accuracy > best else (best, chosen, waited + 1)
        if waited == patience:
            return chosen, epoch
    return chosen, len(accuracies)


def a_job(job: str, *, training: dict[str, Any] | None = None, **evaluation: Any) -> JobRecord:
    return a_record(job, a_spec(training=training or TOO_FAST, evaluation=evaluation))


def accuracies(session: Session) -> list[float]:
    return [float(point.validation_accuracy or 0.0) for point in session.state.curve]


@pytest.mark.parametrize(
    ("measured", "best", "patience", "is_over"),
    [
        ((0.1, 0.3, 0.2), 2, 1, True),
        ((0.1, 0.3, 0.2), 2, 2, False),
        ((0.3, 0.3, 0.3), 1, 2, True),  # as good is no better, and the earlier one is chosen
        ((0.3, 0.2, 0.4), 3, 1, False),
        ((0.3, None, None), 1, 1, False),  # what isn't measured doesn't count
        ((None, 0.3, None, 0.2, None), 2, 1, True),
        ((0.0, 0.0), 1, 1, True),
    ],
)
def test_the_best_epoch_and_the_end_are_read_off_the_curve(
    measured: tuple[float | None, ...], best: int, patience: int, is_over: bool
):
    curve = a_curve(*measured)
    found = best_point(curve)
    assert found is not None
    assert (found.epoch, is_out_of_patience(curve, EvaluationSpec(patience=patience))) == (best, is_over)


def test_where_nothing_was_measured_nothing_is_best_and_nothing_is_enough():
    assert best_point(a_curve(None, None)) is None
    assert not is_out_of_patience(a_curve(None, None), EvaluationSpec(patience=1))


def test_the_epoch_that_is_handed_over_is_the_best_on_validation_rows(settings: NodeSettings, redis: Redis):
    last = trained(a_job("until-the-end"), settings, redis)
    best, _ = read_by_hand(accuracies(last), patience=99)
    assert 1 < best < 8
    result = test_loop.result_of(test_loop.run(a_job("selects", select="best"), settings, redis), settings)
    paused = trained(a_job("until-the-best"), settings, redis, stop_at=best * STEPS)
    handed_over, _ = load_model(settings.storage / "runs" / "selects" / "1" / "artifacts")

    expected = paused.training.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in handed_over.state_dict().items())
    assert result.selected is not None
    assert (result.selected.epoch, result.selected.quality) == (best, result.quality)
    assert result.quality.accuracy == on_test_rows(paused, settings)
    assert result.last is not None
    assert result.last.accuracy == on_test_rows(last, settings)
    assert result.steps == 8 * STEPS
    card = (settings.storage / "runs" / "selects" / "1" / "artifacts" / "model_card.md").read_text()
    assert f"These are the weights of epoch {best} of 8, the best on validation rows" in card


def test_a_job_in_this_process_hands_over_what_a_worker_does(settings: NodeSettings, redis: Redis):
    test_loop.result_of(test_loop.run(a_job("by-a-worker", select="best"), settings, redis), settings)
    expected, _ = load_model(settings.storage / "runs" / "by-a-worker" / "1" / "artifacts")
    here = train(a_job("by-us", select="best"), settings, redis)
    last = {name: tensor.clone() for name, tensor in here.session.training.model.state_dict().items()}

    tensors = here.student.state_dict()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.state_dict().items())
    assert not all(torch.equal(tensors[name], tensor) for name, tensor in last.items())
    member, _ = load_model(settings.storage / keep(here, settings).folder)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in member.state_dict().items())


def test_a_job_that_is_paused_in_this_process_selects_nothing_yet(settings: NodeSettings, redis: Redis):
    for steps in (2, 35):
        record = a_job(f"paused-{steps}", select="best")
        here = train(
            record, settings, redis, wanted=lambda now, at=steps: Stop.PAUSE if now.steps_done == at else Stop.NO
        )
        was = {name: tensor.clone() for name, tensor in here.session.training.model.state_dict().items()}
        assert all(torch.equal(tensor, was[name]) for name, tensor in here.student.state_dict().items())


def test_without_a_wish_the_last_epoch_is_handed_over(settings: NodeSettings, redis: Redis):
    result = test_loop.result_of(test_loop.run(a_job("takes-the-last"), settings, redis), settings)
    assert (result.selected, result.last) == (None, None)
    assert result.quality.accuracy == on_test_rows(trained(a_job("the-last"), settings, redis), settings)


@pytest.mark.parametrize("patience", [1, 3])
def test_a_training_ends_where_patience_does_and_succeeds(settings: NodeSettings, redis: Redis, patience: int):
    whole = trained(a_job(f"no-end-{patience}"), settings, redis)
    best, end = read_by_hand(accuracies(whole), patience)
    assert best < end < 8
    record = a_job(f"ends-{patience}", patience=patience, select="best")
    result = test_loop.result_of(test_loop.run(record, settings, redis), settings)
    assert [point.train_loss for point in result.curve] == [point.train_loss for point in whole.state.curve[:end]]
    assert result.steps == end * STEPS
    assert result.selected is not None
    assert result.selected.epoch == best
    card = (settings.storage / "runs" / record.id / "1" / "artifacts" / "model_card.md").read_text()
    assert f"{end * STEPS} steps of 128 rows" in card


def test_only_what_is_measured_is_counted(settings: NodeSettings, redis: Redis):
    frozen = TOO_FAST | {"optimizer": {"kind": "sgd", "lr": 1e-12}}  # it never gets better than after its first step
    session = trained(a_job("measured", training=frozen, patience=2, every_epochs=2), settings, redis)
    assert [point.epoch for point in session.state.curve if point.validation_accuracy is not None] == [2, 4, 6]
    assert (session.state.epoch, session.state.stopped_early) == (6, True)


def test_a_training_whose_patience_lasts_until_the_end_did_not_stop_early(settings: NodeSettings, redis: Redis):
    frozen = TOO_FAST | {"epochs": 3, "optimizer": {"kind": "sgd", "lr": 1e-12}}
    session = trained(a_job("lasts", training=frozen, patience=2), settings, redis)
    assert (session.state.epoch, session.state.stopped_early) == (3, False)


@pytest.mark.parametrize("cut", [15, 20, 34])
def test_a_run_that_was_cut_selects_the_same_weights_and_ends_at_the_same_epoch(
    settings: NodeSettings, redis: Redis, cut: int
):
    whole = trained(a_job(f"whole-{cut}", select="best", patience=3), settings, redis)
    again = resumed(a_job(f"cut-{cut}", select="best", patience=3), settings, redis, cut=cut)
    assert whole.state.stopped_early
    assert (again.state.epoch, again.state.stopped_early) == (whole.state.epoch, True)
    assert accuracies(again) == accuracies(whole)
    for mine, theirs in (
        (again.training.selected, whole.training.selected),
        (again.training.model.state_dict(), whole.training.model.state_dict()),
    ):
        assert mine.keys() == theirs.keys() != set()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def test_an_attempt_that_goes_on_from_an_early_end_takes_no_step(settings: NodeSettings, redis: Redis):
    record = a_job("at-its-end", select="best", patience=1)
    whole = trained(record, settings, redis)
    again = resumed(record, settings, redis, cut=whole.steps_done)
    assert (again.steps_done, again.state.stopped_early) == (whole.steps_done, True)
    assert all(torch.equal(again.training.selected[name], tensor) for name, tensor in whole.training.selected.items())


def test_a_trajectory_ends_where_its_run_stops_early(settings: NodeSettings, redis: Redis):
    session = trained(a_job("short-way", training=TOO_FAST | {"snapshots": 2}, patience=1), settings, redis)
    assert session.state.epoch < 4
    assert [one.epoch for one in session.state.snapshots] == [session.state.epoch]


def test_a_checkpoint_without_its_selected_weights_is_refused(settings: NodeSettings, redis: Redis):
    session = trained(a_job("torn-selection", select="best"), settings, redis, stop_at=12)
    folder = settings.storage / "runs" / "torn-selection" / "1" / "checkpoints" / "step-00000012"
    was = checkpoints.digest(folder)
    assert checkpoints.restore(folder, session.training, expected_digest=was).epoch == 1
    (folder / "selected.safetensors").unlink()
    with pytest.raises(InvalidWeights, match="torn, or was changed"):
        checkpoints.restore(folder, session.training, expected_digest=was)


def test_selected_weights_of_another_student_are_refused(settings: NodeSettings, redis: Redis):
    session = trained(a_job("other-selection", select="best"), settings, redis, stop_at=12)
    folder = settings.storage / "runs" / "other-selection" / "1" / "checkpoints" / "step-00000012"
    save_file({"weight": torch.zeros(2)}, folder / "selected.safetensors")
    with pytest.raises(InvalidWeights, match="are not the student's"):
        checkpoints.restore(folder, session.training, expected_digest=checkpoints.digest(folder))


@pytest.mark.parametrize(
    ("evaluation", "field"), [({"select": "best"}, "evaluation.select"), ({"patience": 1}, "evaluation.patience")]
)
def test_a_choice_that_no_label_could_decide_is_refused_before_anything_is_trained(
    settings: NodeSettings, redis: Redis, evaluation: dict[str, Any], field: str
):
    inputs, labels = np.ones((20, 4)), np.arange(20) % 2
    np.savez(settings.data_root / "unheld-test.npz", inputs=inputs, labels=labels)
    held = select_rows(torch.zeros(20), rows=Rows(), validation=Holdout(), labels=AllLabels()).validation_rows
    labels[held.numpy()] = -1
    np.savez(settings.data_root / "unheld.npz", inputs=inputs, labels=labels)
    training = {"epochs": 3, "batch_size": 8}
    data = {"source": "npz", "train": "unheld.npz", "test": "unheld-test.npz"}
    spec = a_spec(dataset=data, training=training, evaluation=evaluation)
    with pytest.raises(InvalidSpec, match="on validation rows, and none of them has a label") as error:
        check(a_record("undecided", spec), settings, redis)
    assert error.value.details["field"] == field


def test_a_patience_that_never_ends_is_refused_when_it_is_posted():
    # 10 epochs, each third of them and the last are measured: 3, 6, 9 and 10
    training = {"epochs": 10, "batch_size": 128}
    assert a_spec(training=training, evaluation={"every_epochs": 3, "patience": 3}).evaluation.patience == 3
    with pytest.raises(ValueError, match="the training has 4 in all"):
        a_spec(training=training, evaluation={"every_epochs": 3, "patience": 4})


def test_a_baseline_selects_and_stops_as_its_student_does():
    job = taught_by(a_teacher(classes=tuple("0123456789")), evaluation={"select": "best", "patience": 1})
    study = StudySpec(name="pair", job=job)
    student, baseline = (study.spec_of(child, study="pair-1") for child in study.children().values())
    assert baseline.evaluation == student.evaluation == EvaluationSpec(select="best", patience=1)


def test_two_ranks_stop_early_after_the_same_epoch(settings: NodeSettings, tmp_path: Path):
    teacher = a_teacher(classes=tuple("0123456789"))
    training = {"epochs": 3, "batch_size": 128, "optimizer": {"kind": "sgd", "lr": 1e-12}}
    spec = taught_by(teacher, training=training, evaluation={"select": "best", "patience": 1})
    record = a_record("both-stop", spec, teachers=(teacher,))
    found = trained_by_two([record], settings, tmp_path, cut=13, open_pool=fake_pool)
    (_, whole), (_, again) = found[record.id]
    assert [point.epoch for point in whole] == [point.epoch for point in again] == [1, 2]


def on_test_rows(session: Session, settings: NodeSettings) -> float:
    data = load(a_spec().dataset, settings)
    named_N = predict(session.training.model, data.test_inputs).argmax(dim=1)
    return float((named_N == data.test_labels).double().mean())
