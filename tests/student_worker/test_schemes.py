"""Who else may teach: peers, a fused head, the student's own last layer, its average, its other view.

Each teaches what it is there for, and each goes on from a checkpoint bit by bit.
"""

from typing import Any

import pytest
import torch
from redis import Redis
from torch import Tensor

from distill.contracts.datasets import DigitsData
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.science.datasets import Dataset, load
from distill.science.inference import predict
from distill.science.losses import attention_map
from distill.science.models import Classifier
from distill.science.schemes import look
from student_worker.session import Session
from tests.student_worker.knowledge import a_job, a_trained_teacher, accuracy, trained
from tests.student_worker.test_knowledge import goes_on

LABELS = {"kind": "labels"}
CNN = {"source": "zoo", "name": "cnn", "args": {"width": 8}}
MLP = {"source": "zoo", "name": "mlp", "args": {"hidden": [32]}}
TRAINING = {"epochs": 8, "batch_size": 96, "optimizer": {"kind": "adamw", "lr": 0.01}}
ATTENTION = {"kind": "attention", "weight": 300.0, "pairs": [{"student": "stages.1", "teacher": "stages.1"}]}


@pytest.fixture(scope="module")
def digits(settings: NodeSettings) -> Dataset:
    return load(DigitsData(source="digits"), settings)


def job(settings: NodeSettings, name: str, scheme: dict[str, Any], *terms: dict[str, Any]) -> JobRecord:
    return a_job(settings, name, (), scheme=scheme, objective=[LABELS, *terms], training=TRAINING)


def named(model: Classifier, inputs: Tensor) -> Tensor:
    return predict(model, inputs).argmax(dim=1)


def share(agreeing_N: Tensor) -> float:
    return float(agreeing_N.float().mean())


def test_peers_come_to_agree_more_than_students_who_learn_alone(settings: NodeSettings, redis: Redis, digits: Dataset):
    scheme = {"kind": "online", "peers": [MLP]}
    mutual = {"kind": "soft_targets", "temperature": 2.0, "weight": 2.0, "target": {"from": "peers"}}
    together = job(settings, "mutual", scheme, mutual)
    whole = trained(together, settings, redis)
    one, other = whole.training.learner.students
    apart = trained(job(settings, "apart", {"kind": "offline"}), settings, redis).training.model
    alone = a_job(settings, "alone", (), student=MLP, objective=[LABELS], training=TRAINING)
    apart_too = trained(alone, settings, redis).training.model

    agreeing = share(named(one, digits.test_inputs) == named(other, digits.test_inputs))
    assert agreeing > share(named(apart, digits.test_inputs) == named(apart_too, digits.test_inputs))
    assert share(named(one, digits.test_inputs) == digits.test_labels) > 0.85
    goes_on(together, whole, settings, redis)


def test_the_student_of_a_scheme_starts_as_its_baseline_does(settings: NodeSettings, redis: Redis):
    scheme = {"kind": "online", "peers": [CNN, CNN]}
    mutual = {"kind": "soft_targets", "target": {"from": "peers"}}
    with_peers = trained(job(settings, "peers-start", scheme, mutual), settings, redis, stop_at=0).training.learner
    alone = trained(job(settings, "alone-start", {"kind": "offline"}), settings, redis, stop_at=0).training.model
    mine, first, second = (student.net.head.weight for student in with_peers.students)
    assert torch.equal(mine, alone.net.head.weight)
    assert not torch.equal(mine, first)
    assert not torch.equal(first, second)


def test_a_head_on_the_peers_joined_features_learns_beside_them_and_teaches_them(
    settings: NodeSettings, redis: Redis, digits: Dataset
):
    scheme = {"kind": "online", "peers": [CNN], "fusion": {"taps": ["stages.2", "stages.1"], "channels": 24}}
    fused = {"kind": "soft_targets", "temperature": 3.0, "target": {"from": "fused"}}
    record = job(settings, "fused", scheme, fused)
    session = trained(record, settings, redis)
    learner = session.training.learner.eval()
    with torch.no_grad():
        outputs = [
            look(student, digits.test_inputs, [tap])
            for student, tap in zip(learner.students, scheme["fusion"]["taps"], strict=True)
        ]
        fused_N = learner.fusion(outputs).argmax(dim=1)
    assert share(fused_N == digits.test_labels) > 0.85
    assert share(outputs[0].logits_NC.argmax(dim=1) == digits.test_labels) > 0.85
    goes_on(record, session, settings, redis)


def test_an_early_layer_learns_from_the_last_one(settings: NodeSettings, redis: Redis, digits: Dataset):
    deep = {"kind": "soft_targets", "at": "stages.1", "temperature": 2.0, "target": {"from": "self"}}
    record = job(settings, "deep", {"kind": "self"}, deep)
    session = trained(record, settings, redis)
    objective = session.training.learner.eval().objectives[0]
    with torch.no_grad():
        early = look(session.training.model, digits.test_inputs, ["stages.1"]).features["stages.1"]
        named_N = objective.auxiliary["at/stages/1"](early).argmax(dim=1)
    # it never saw a label: what it knows, it has from the last layer
    assert share(named_N == digits.test_labels) > 0.5
    assert accuracy(session, settings) > 0.85
    goes_on(record, session, settings, redis)


def test_what_only_the_training_needs_is_no_part_of_the_student(settings: NodeSettings, redis: Redis):
    deep = {"kind": "soft_targets", "at": "stages.0", "target": {"from": "self"}}
    plain = trained(job(settings, "plain", {"kind": "offline"}), settings, redis, stop_at=0).training.model
    session = trained(job(settings, "more", {"kind": "self"}, deep), settings, redis, stop_at=0)
    assert list(session.training.model.state_dict()) == list(plain.state_dict())
    assert len(session.training.learner.state_dict()) > len(plain.state_dict())


def test_the_average_follows_the_student_and_teaches_it(settings: NodeSettings, redis: Redis, digits: Dataset):
    scheme = {"kind": "self", "average": {"decay": 0.9}}
    ema = {"kind": "soft_targets", "temperature": 1.0, "target": {"from": "average"}}
    record = job(settings, "average", scheme, ema)
    seen: list[Tensor] = []

    session = trained(record, settings, redis)

    average = session.training.learner.average.model
    seen += [average.net.head.weight, session.training.model.net.head.weight]
    assert not torch.equal(*seen)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert share(named(average, digits.test_inputs) == digits.test_labels) > 0.85
    goes_on(record, session, settings, redis)


def test_the_average_is_worked_out_step_by_step(settings: NodeSettings, redis: Redis):
    scheme = {"kind": "self", "average": {"decay": 0.9}}
    record = job(settings, "by-hand", scheme, {"kind": "soft_targets", "target": {"from": "average"}})

    def head(session: Session, *, of_average: bool = False) -> Tensor:
        learner = session.training.learner
        return (learner.average.model if of_average else learner.student).net.head.weight.detach().clone()

    start = head(trained(record, settings, redis, stop_at=0))
    first = head(trained(record, settings, redis, stop_at=1))
    two = trained(record, settings, redis, stop_at=2)

    # decays of steps 0 and 1 are 1/10 and 2/11, as 0.9 is more
    after_first = start * 1 / 10 + first * 9 / 10
    torch.testing.assert_close(head(two, of_average=True), after_first * 2 / 11 + head(two) * 9 / 11)


@pytest.mark.parametrize("transform", ["flip", pytest.param("rotate", marks=pytest.mark.long)])
def test_attention_comes_to_agree_across_views_of_the_same_image(
    settings: NodeSettings, redis: Redis, digits: Dataset, transform: str
):
    def disagreement(session: Session) -> float:
        turned = digits.test_inputs.flip(3) if transform == "flip" else digits.test_inputs.rot90(1, dims=(2, 3))
        model = session.training.model.eval()
        with torch.no_grad():
            here, there = (
                attention_map(look(model, images, ["stages.1"]).features["stages.1"], power=2.0)
                for images in (digits.test_inputs, turned)
            )
        back = there.flip(2) if transform == "flip" else there.rot90(-1, dims=(1, 2))
        unit, unit_back = (torch.nn.functional.normalize(maps.flatten(1)) for maps in (here, back))
        return float((unit - unit_back).square().sum(dim=1).mean())

    scheme = {"kind": "self", "view": {"transform": transform}}
    record = job(settings, f"view-{transform}", scheme, ATTENTION | {"target": {"from": "view"}})
    agreeing = trained(record, settings, redis)
    alone = trained(job(settings, f"no-view-{transform}", {"kind": "offline"}), settings, redis)

    assert disagreement(agreeing) < 0.5 * disagreement(alone)
    goes_on(record, agreeing, settings, redis)


def test_peers_learn_from_a_served_teacher_and_from_each_other_at_once(settings: NodeSettings, redis: Redis):
    teacher = a_trained_teacher(settings, name="of-peers")
    record = a_job(
        settings,
        "peers-and-served",
        (teacher,),
        scheme={"kind": "online", "peers": [MLP]},
        objective=[
            {"kind": "soft_targets"},
            {"kind": "soft_targets", "temperature": 1.0, "target": {"from": "peers"}},
            {"kind": "hint", "pairs": [{"student": "head", "teacher": "head"}]},
        ],
        training=TRAINING,
    )
    session = trained(record, settings, redis)
    assert accuracy(session, settings) > 0.85
    goes_on(record, session, settings, redis)


@pytest.mark.long
def test_peers_may_have_a_head_for_each_member_too(settings: NodeSettings, redis: Redis):
    record = a_job(
        settings,
        "peers-with-heads",
        (a_trained_teacher(settings, name="of-heads"),),
        scheme={"kind": "online", "peers": [MLP]},
        ensemble={"combine": "per_member_heads"},
        objective=[{"kind": "soft_targets"}, {"kind": "soft_targets", "temperature": 1.0, "target": {"from": "peers"}}],
        training=TRAINING,
    )
    session = trained(record, settings, redis)
    # peers compare what they say as a whole: their heads aggregated
    assert [student.net.head.out_features for student in session.training.learner.students] == [20, 20]
    assert accuracy(session, settings) > 0.85
    goes_on(record, session, settings, redis)
