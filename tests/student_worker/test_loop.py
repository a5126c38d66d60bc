"""One rank alone, without Ray: the whole way from the plan to the result, on a real Redis."""

import json
import time
from typing import Any

import numpy as np
import pytest
import torch
from redis import Redis

from distill.contracts.base import now
from distill.contracts.datasets import AllLabels, Holdout, Rows
from distill.contracts.facts import CheckpointSaved, EpochEnded, PhaseReached, TeacherReturned
from distill.contracts.measures import AttemptResult, Predictions
from distill.contracts.models import ModelCard
from distill.contracts.records import JobRecord, Outcome, Phase, Wish
from distill.contracts.settings import NodeSettings
from distill.science.datasets import load
from distill.science.datasets.selection import select_rows
from distill.science.weights import load_model
from student_worker import loop
from student_worker.ending import Ending
from student_worker.plan import Plan
from student_worker.ranks import Ranks
from tests.student_worker.fakes import FakePool
from tests.student_worker.jobs import a_record, a_spec, a_teacher, facts_of, store, taught_by

DIGITS = tuple("0123456789")


def run(record: JobRecord, settings: NodeSettings, redis: Redis, wish: Wish = Wish.RUN) -> Ending:
    """Run rank 0 of 1 in this process."""
    store(redis, record, wish)
    (settings.storage / "runs" / record.id / "1").mkdir(parents=True)
    moment = time.time()
    plan = Plan(record=record, attempt=1, started_at=moment - 3, checked_at=moment - 2, num_steps=20)
    return loop.run_rank(plan, settings, Ranks(0, 1, torch.device("cpu")))


def result_of(ending: Ending, settings: NodeSettings) -> AttemptResult:
    assert ending.outcome is Outcome.FINISHED
    return AttemptResult.model_validate_json((settings.storage / str(ending.result)).read_bytes())


def test_a_finished_rank_leaves_a_program_that_plain_torch_runs_to_the_same_accuracy(
    settings: NodeSettings, redis: Redis
):
    record = a_record("program", a_spec())
    result = result_of(run(record, settings, redis), settings)
    program = next(artifact for artifact in result.artifacts if artifact.name == "student.pt2")
    data = load(record.spec.dataset, settings)
    logits = torch.export.load(settings.storage / program.path).module()(data.test_inputs)
    assert float((logits.argmax(1) == data.test_labels).double().mean()) == result.quality.accuracy


def test_a_finished_rank_leaves_its_figures_card_and_predictions(settings: NodeSettings, redis: Redis):
    result = result_of(run(a_record("figures", a_spec()), settings, redis), settings)
    folder = settings.storage / "runs" / "figures" / "1"
    model, card = load_model(folder / "artifacts")
    predictions = Predictions.model_validate_json((settings.storage / result.predictions).read_bytes())
    assert ModelCard.model_validate_json((folder / "artifacts" / "model.json").read_bytes()) == card
    assert sum(parameter.numel() for parameter in model.parameters()) == result.size.parameters
    hits = [named == true for named, true in zip(predictions.student, predictions.truth, strict=True)]
    assert sum(hits) / len(hits) == pytest.approx(result.quality.accuracy)
    assert "Trained on 200 rows, of which 200" in (folder / "artifacts" / "model_card.md").read_text()
    assert list(result.phases)[:2] == ["check", "start workers"]
    assert result.phases["check"] == pytest.approx(1.0, abs=0.01)


def test_the_last_snapshot_of_a_finished_rank_is_the_student_that_it_hands_over(settings: NodeSettings, redis: Redis):
    training = {"epochs": 2, "batch_size": 128, "snapshots": 2}
    result = result_of(run(a_record("kept", a_spec(training=training)), settings, redis), settings)
    handed_over = next(artifact for artifact in result.artifacts if artifact.name == "model.safetensors")
    assert [snapshot.epoch for snapshot in result.snapshots] == [1, 2]
    first, last = (snapshot.digest for snapshot in result.snapshots)
    assert (last, first != last) == (handed_over.digest, True)


def test_a_rank_says_each_station_epoch_and_checkpoint(settings: NodeSettings, redis: Redis):
    run(a_record("stations", a_spec()), settings, redis)
    facts = facts_of(redis, "stations")
    assert [fact.phase for fact in facts if isinstance(fact, PhaseReached)] == [
        Phase.WORKERS_READY,
        Phase.TRAINING,
        Phase.TRAINED,
        Phase.EVALUATED,
        Phase.EXPORTED,
    ]
    assert [fact.epoch for fact in facts if isinstance(fact, EpochEnded)] == [1, 2]
    assert [fact.checkpoint.step for fact in facts if isinstance(fact, CheckpointSaved)] == [10, 20]
    shown = [json.loads(fields["progress"]) for _, fields in redis.xrange("stillhouse:job:stations:progress")]
    assert shown[-1]["phase"] == "exporting"


def test_an_epoch_is_told_before_it_is_saved_so_that_who_resumes_from_it_need_not_tell_it(
    settings: NodeSettings, redis: Redis
):
    run(a_record("told", a_spec()), settings, redis)
    told = [fact.kind for fact in facts_of(redis, "told") if isinstance(fact, EpochEnded | CheckpointSaved)]
    assert told == ["epoch_ended", "checkpoint_saved"] * 2


def test_a_taught_student_is_measured_beside_its_teachers(
    settings: NodeSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    pool = FakePool()
    monkeypatch.setattr(loop, "open_pool", lambda *_, **__: pool)
    teacher = a_teacher(classes=DIGITS)
    record = a_record("beside", taught_by(teacher), teachers=(teacher,))
    result = result_of(run(record, settings, redis), settings)
    assert 10 * 128 + 359 <= result.teacher_rows <= 1294 + 359  # two epochs, and no row asked twice
    assert [len(measured.members) for measured in result.teachers] == [2]
    assert result.ensemble == result.teachers[0].ensemble
    assert result.agreement is not None
    assert 0 <= result.agreement <= 1


def test_a_rank_without_its_teacher_saves_and_waits_elsewhere(
    settings: NodeSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "open_pool", lambda *_, **__: FakePool(windows=1))
    teacher = a_teacher(classes=DIGITS)
    ending = run(a_record("alone", taught_by(teacher), teachers=(teacher,)), settings, redis)
    assert ending.outcome is Outcome.WAITED
    assert [fact.checkpoint.step for fact in facts_of(redis, "alone") if isinstance(fact, CheckpointSaved)] == [1]


def test_an_answer_ends_the_wait_that_an_earlier_attempt_began(
    settings: NodeSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "open_pool", lambda *_, **__: FakePool())
    teacher = a_teacher(classes=DIGITS)
    record = a_record("waited", taught_by(teacher), teachers=(teacher,), teacher_awaited_since=now())
    run(record, settings, redis)
    assert [fact.teacher for fact in facts_of(redis, "waited") if isinstance(fact, TeacherReturned)] == ["wise@1"]


def test_a_student_lost_in_its_last_step_has_diverged(settings: NodeSettings, redis: Redis):
    training = {"epochs": 1, "batch_size": 1024, "optimizer": {"kind": "sgd", "lr": 1e30}}
    ending = run(a_record("last-step", a_spec(training=training)), settings, redis)
    assert ending.problem is not None
    assert (ending.outcome, ending.problem.code) == (Outcome.FAILED, "training_diverged")
    assert not [fact for fact in facts_of(redis, "last-step") if isinstance(fact, EpochEnded)]


def test_a_student_lost_in_its_last_step_has_diverged_where_no_validation_row_has_a_label(
    settings: NodeSettings, redis: Redis
):
    inputs = np.random.default_rng(0).normal(size=(20, 4))
    held = select_rows(torch.zeros(20), rows=Rows(), validation=Holdout(), labels=AllLabels()).validation_rows
    labels = np.arange(20) % 2
    np.savez(settings.data_root / "lost-test.npz", inputs=inputs, labels=labels)
    labels[held.numpy()] = -1
    np.savez(settings.data_root / "lost.npz", inputs=inputs, labels=labels)
    data = {"source": "npz", "train": "lost.npz", "test": "lost-test.npz"}
    training = {"epochs": 1, "batch_size": 16, "optimizer": {"kind": "sgd", "lr": 1e30}}
    ending = run(a_record("unmeasured", a_spec(dataset=data, training=training)), settings, redis)
    assert ending.problem is not None
    assert (ending.outcome, ending.problem.code) == (Outcome.FAILED, "training_diverged")


@pytest.mark.parametrize(
    ("wish", "outcome"), [(Wish.CANCEL, Outcome.CANCELLED), (Wish.PAUSE, Outcome.PAUSED)], ids=["cancel", "pause"]
)
def test_a_wish_made_before_the_rank_was_up_is_followed_at_once(
    settings: NodeSettings, redis: Redis, wish: Wish, outcome: Outcome
):
    job = f"early-{wish.value}"
    assert run(a_record(job, a_spec()), settings, redis, wish).outcome is outcome
    assert facts_of(redis, job) == []


def test_an_attempt_out_of_wall_time_fails_with_that_code(settings: NodeSettings, redis: Redis):
    ending = run(a_record("slow", a_spec(limits={"wall_s": 1})), settings, redis)
    assert ending.problem is not None
    assert (ending.outcome, ending.problem.code) == (Outcome.FAILED, "wall_time")


def test_a_rank_of_an_older_attempt_writes_nothing(settings: NodeSettings, redis: Redis):
    record = a_record("overtaken", a_spec())
    newer: dict[str, Any] = {"attempts": record.attempts * 2}
    ending = run(record.model_copy(update=newer), settings, redis)
    assert ending.outcome is None
    assert facts_of(redis, "overtaken") == []
    assert list((settings.storage / "runs" / "overtaken" / "1").iterdir()) == []


def test_a_plan_reaches_the_ranks_as_it_was_made():
    teacher = a_teacher(classes=DIGITS)
    record = a_record("plan", taught_by(teacher), teachers=(teacher,))
    plan = Plan(record=record, attempt=1, started_at=1.5, checked_at=2.5, num_steps=20)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
