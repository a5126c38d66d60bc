"""What is trained, whatever the scheme: its numbers at half precision, and the traces that it leaves in the student."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from distill.contracts.ensemble import MeanProbability
from distill.contracts.errors import InvalidSpec
from distill.contracts.models import ImageInput, InputSpec, TransformersModel, VectorInput, ZooArgs, ZooModel
from distill.contracts.objective import Term
from distill.contracts.scheme import SchemeSpec
from distill.science.answers import MemberLayout
from distill.science.learner import Learner
from distill.science.models import build
from distill.science.objective import Source
from distill.science.taps import tap_shapes

SQUARE = ImageInput(channels=1, height=8, width=8, mean=(0.5,), std=(0.25,))
WIDE = SQUARE.model_copy(update={"width": 12})
CNN = ZooModel(name="cnn", args=ZooArgs(width=4))
LABELS = {"kind": "labels"}
TERMS: TypeAdapter[tuple[Term, ...]] = TypeAdapter(tuple[Term, ...])
SCHEME: TypeAdapter[SchemeSpec] = TypeAdapter(SchemeSpec)


def a_learner(*terms: dict[str, Any], scheme: dict[str, Any], spec: Any = CNN, taken: InputSpec = SQUARE) -> Learner:
    torch.manual_seed(0)
    return Learner(
        [build(spec, input=taken, num_classes=4)],
        TERMS.validate_python(terms),
        ensemble=MeanProbability(),
        scheme=SCHEME.validate_python(scheme),
        served=Source(MemberLayout(teachers=()), ()),
        input=taken,
        num_classes=4,
    )


def loss_of(learner: Learner, *, half: bool = False, num_rows: int = 16) -> Tensor:
    inputs = torch.randint(0, 256, (num_rows, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return learner(inputs, torch.arange(num_rows) % 4, None, progress=0.0, half=half)


@pytest.mark.parametrize("kind", ["hint", "attention", "flow", "neuron_selectivity", "similarity_preserving"])
def test_at_half_precision_features_are_compared_in_float32(kind: str):
    sides = ["stages.0", "stages.1"] if kind == "flow" else "stages.1"
    # a feature differs from itself by exactly nothing, if both sides are rounded alike
    term = {"kind": kind, "pairs": [{"student": sides, "teacher": sides}], "target": {"from": "self"}}
    loss = loss_of(a_learner(term, scheme={"kind": "self"}), half=True)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("transform", ["flip", "rotate"])
def test_turned_images_leave_no_trace_in_the_running_statistics(transform: str):
    term = {"kind": "attention", "pairs": [{"student": "stages.1", "teacher": "stages.1"}], "target": {"from": "view"}}
    turning = a_learner(LABELS, term, scheme={"kind": "self", "view": {"transform": transform}})
    alone = a_learner(LABELS, scheme={"kind": "offline"})
    for learner in (turning, alone):
        loss_of(learner.train()).backward()
    seen, expected = dict(turning.student.named_buffers()), dict(alone.student.named_buffers())
    assert any("running_mean" in name for name in expected)
    assert all(torch.equal(buffer, seen[name]) for name, buffer in expected.items())


@pytest.mark.parametrize(
    ("taken", "transform", "said"),
    [
        (WIDE, "rotate", "'rotate' needs square images, and the data has images of 8 x 12"),
        (
            VectorInput(features=6, mean=(0.0,) * 6, std=(1.0,) * 6),
            "flip",
            "'flip' needs images, and the data has rows of kind 'vector'",
        ),
    ],
)
def test_a_view_that_the_data_can_not_have_is_refused(taken: InputSpec, transform: str, said: str):
    term = {"kind": "soft_targets", "target": {"from": "view"}}
    scheme = {"kind": "self", "view": {"transform": transform}}
    mlp = ZooModel(name="mlp", args=ZooArgs(hidden=(4,)))
    with pytest.raises(InvalidSpec, match=said) as error:
        a_learner(LABELS, term, scheme=scheme, taken=taken, spec=mlp)
    assert error.value.details["field"] == "scheme.view.transform"
    assert a_learner(LABELS, term, scheme={"kind": "self", "view": {"transform": "flip"}}, taken=WIDE)


def test_tokens_that_can_not_be_turned_back_are_refused_for_another_view():
    sizes = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "patch_size": 4,
    }
    vit = TransformersModel(source="transformers", model_type="vit", config=sizes)
    student = a_learner(LABELS, scheme={"kind": "offline"}, spec=vit).student
    tokens = next(name for name, shape in tap_shapes(student, SQUARE).items() if len(shape) == 2)
    term = {"kind": "attention", "pairs": [{"student": tokens, "teacher": tokens}], "target": {"from": "view"}}
    with pytest.raises(InvalidSpec, match="can't be turned back") as error:
        a_learner(LABELS, term, scheme={"kind": "self", "view": {}}, spec=vit)
    assert error.value.details["field"] == "objective.1.pairs.0.teacher"


FEATURES = ["hint", "attention", "neuron_selectivity", "relational_distance", "relational_angle",
            "similarity_preserving", "correlation", "probabilistic_transfer", "contrastive"]  # fmt: skip


@pytest.mark.parametrize("side", ["student", "teacher"])
@pytest.mark.parametrize("kind", FEATURES)
def test_a_module_that_is_not_there_is_refused_whatever_the_term(kind: str, side: str):
    pairs = [
        {"student": "stages.0", "teacher": "stages.1"},
        {"student": "stages.0", "teacher": "stages.1"} | {side: "stages.9"},
    ]
    term = {"kind": kind, "pairs": pairs, "target": {"from": "self"}}
    with pytest.raises(InvalidSpec, match="has no module") as error:
        a_learner(LABELS, term, scheme={"kind": "self"})
    assert error.value.details["field"] == f"objective.1.pairs.1.{side}"
    assert error.value.details["hint"] == "did you mean 'stages.2'?"


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_module_that_is_not_there_is_refused_of_flow_too(side: str):
    pair = {"student": ["stages.0", "stages.1"], "teacher": ["stages.1", "stages.2"]} | {side: ["stages.0", "stages.9"]}
    term = {"kind": "flow", "pairs": [pair], "target": {"from": "self"}}
    with pytest.raises(InvalidSpec) as error:
        a_learner(LABELS, term, scheme={"kind": "self"})
    assert error.value.details["field"] == f"objective.1.pairs.0.{side}"


RESPONSES = ["labels", "soft_targets", "reverse_kl", "jensen_shannon", "skewed_kl", "total_variation", "logits",
             "decoupled", "dist"]  # fmt: skip


@pytest.mark.parametrize("kind", RESPONSES)
def test_an_auxiliary_head_needs_a_module_whatever_the_term(kind: str):
    term = {"kind": kind, "at": "stages.9"} | ({} if kind == "labels" else {"target": {"from": "self"}})
    with pytest.raises(InvalidSpec) as error:
        a_learner(LABELS, term, scheme={"kind": "self"})
    assert error.value.details["field"] == "objective.1.at"


@pytest.mark.parametrize(
    ("kind", "more", "student", "teacher"),
    [
        ("hint", {}, "stages.1", "head"),
        ("hint", {}, "head", "stages.1"),
        ("hint", {"regressor": "identity"}, "pool", "head"),
        ("attention", {}, "stages.1", "head"),
        ("attention", {}, "head", "stages.1"),
        ("neuron_selectivity", {}, "head", "stages.1"),
        ("flow", {}, ["stages.0", "head"], ["stages.0", "stages.1"]),
        ("flow", {}, ["stages.0", "stages.1"], ["head", "stages.1"]),
    ],
)
def test_shapes_that_no_bridge_joins_are_refused_before_the_first_step(
    kind: str, more: dict[str, Any], student: Any, teacher: Any
):
    term = {"kind": kind, "pairs": [{"student": student, "teacher": teacher}], "target": {"from": "self"}} | more
    with pytest.raises(InvalidSpec) as error:
        a_learner(LABELS, term, scheme={"kind": "self"})
    assert error.value.details["field"] == "objective.1.pairs.0"
