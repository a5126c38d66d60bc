"""What holds for every loss: its derivatives, its constants, its precision, and what it refuses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch

from distill.science import losses
from distill.science.losses import (
    attention_loss,
    contrastive_loss,
    correlation_loss,
    decoupled_loss,
    dist_loss,
    flow_loss,
    hint_loss,
    jensen_shannon_loss,
    label_loss,
    logit_loss,
    neuron_selectivity_loss,
    probabilistic_transfer_loss,
    relational_angle_loss,
    relational_distance_loss,
    reverse_kl_loss,
    similarity_loss,
    skewed_kl_loss,
    soft_target_loss,
    total_variation_loss,
)

LABELS = torch.tensor([1, -1, 0, 3])


@dataclass(frozen=True)
class Case:
    """A loss of student and teacher, with shapes that fit it."""

    loss: Callable[..., torch.Tensor]
    shape: tuple[int, ...]
    settings: dict = field(default_factory=dict)
    teacher_shape: tuple[int, ...] | None = None
    zero_when_equal: bool = True

    def __call__(self, student, teacher):
        if self.loss is decoupled_loss:
            return decoupled_loss(student, teacher, LABELS, **self.settings)
        return self.loss(student, teacher, **self.settings)

    def tensors(self, dtype):
        return torch.randn(self.shape, dtype=dtype), torch.randn(self.teacher_shape or self.shape, dtype=dtype)

    def __str__(self):
        return "-".join([self.loss.__name__, *(f"{name}={value}" for name, value in self.settings.items())])


LOGITS, MAPS, ROWS = (4, 5), (4, 3, 4, 4), (4, 6)

CASES = [
    Case(soft_target_loss, LOGITS, {"temperature": 3.0}),
    Case(reverse_kl_loss, LOGITS, {"temperature": 2.0}),
    Case(jensen_shannon_loss, LOGITS, {"beta": 0.0}),
    Case(jensen_shannon_loss, LOGITS, {"beta": 0.3, "temperature": 2.0}),
    Case(jensen_shannon_loss, LOGITS, {"beta": 1.0}),
    Case(skewed_kl_loss, LOGITS, {"alpha": 0.0}),
    Case(skewed_kl_loss, LOGITS, {"alpha": 0.1, "temperature": 2.0}),
    Case(total_variation_loss, LOGITS, {"temperature": 2.0}),
    Case(logit_loss, LOGITS),
    Case(decoupled_loss, LOGITS, {"temperature": 2.0}),
    Case(dist_loss, LOGITS, {"inter": 0.7, "temperature": 2.0}),
    Case(hint_loss, MAPS),
    Case(attention_loss, (4, 4, 4), {"form": "code"}, (4, 3, 6)),
    Case(attention_loss, (4, 4, 4), {"form": "paper"}),
    Case(flow_loss, (4, 3, 5)),
    Case(neuron_selectivity_loss, MAPS, teacher_shape=(4, 2, 3, 6)),
    Case(neuron_selectivity_loss, (4, 6, 3), teacher_shape=(4, 6, 2)),
    Case(relational_distance_loss, MAPS, teacher_shape=ROWS),
    Case(relational_angle_loss, MAPS, teacher_shape=ROWS),
    Case(similarity_loss, MAPS, teacher_shape=ROWS),
    Case(correlation_loss, MAPS, {"form": "paper"}, ROWS),
    Case(correlation_loss, ROWS, {"form": "code"}),
    Case(probabilistic_transfer_loss, MAPS, teacher_shape=ROWS),
    Case(contrastive_loss, ROWS, {"temperature": 0.5}, zero_when_equal=False),
]
ON_LOGITS = [case for case in CASES if case.shape == LOGITS]


def test_every_public_loss_is_among_the_cases():
    of_their_own = {label_loss}  # in test_response.py
    public = {getattr(losses, name) for name in losses.__all__ if name.endswith("_loss")}

    assert {case.loss for case in CASES} == public - of_their_own


@pytest.mark.parametrize("case", CASES, ids=str)
def test_derivatives_agree_with_finite_differences(case):
    student, teacher = case.tensors(torch.float64)

    assert torch.autograd.gradcheck(lambda given: case(given, teacher), student.requires_grad_())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_teacher_is_a_constant(case):
    student, teacher = (tensor.requires_grad_() for tensor in case.tensors(torch.float32))

    case(student, teacher).backward()

    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(case):
    teacher = case.tensors(torch.float64)[1]
    student = teacher.clone().requires_grad_()

    loss = case(student, teacher)
    loss.backward()

    assert (abs(loss.item()) < 1e-12) is case.zero_when_equal
    assert (student.grad.abs().max().item() < 1e-7) is case.zero_when_equal


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_loss_is_never_negative(case):
    assert all(case(*case.tensors(torch.float64)).item() >= 0 for _ in range(20))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_half_precision_is_computed_in_float32_and_float64_is_kept(case):
    student, teacher = case.tensors(torch.bfloat16)

    assert torch.equal(case(student, teacher), case(student.float(), teacher.float()))
    assert case(student.double(), teacher).dtype == torch.float64
    assert case(student, teacher.double()).dtype == torch.float32


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_that_do_not_belong_together_are_refused_with_both_shapes(case):
    student, teacher = case.tensors(torch.float32)
    few, many = tuple(student.shape), (5, *teacher.shape[1:])

    with pytest.raises(ValueError, match=r"\(") as refusal:
        case(student, torch.cat([teacher, teacher[:1]]))

    assert str(few) in str(refusal.value)
    assert str(many) in str(refusal.value)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_single_row_never_gives_what_is_not_a_number(case):
    student, teacher = (tensor[:1] for tensor in case.tensors(torch.float32))
    student.requires_grad_()
    single = partial(decoupled_loss, labels_N=LABELS[:1]) if case.loss is decoupled_loss else case

    loss = single(student, teacher)
    loss.backward()

    assert loss.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_features_and_logits_of_zeros_have_finite_gradients(case):
    student, teacher = case.tensors(torch.float32)
    student = torch.zeros_like(student, requires_grad=True)

    for given in (teacher, torch.zeros_like(teacher)):
        loss = case(student, given)
        loss.backward()
        assert loss.isfinite()
        assert student.grad.isfinite().all()


@pytest.mark.parametrize("case", ON_LOGITS, ids=str)
@pytest.mark.parametrize("low", [-350.0, -1e4, -1e6])
def test_a_teacher_that_rules_classes_out_leaves_all_finite(case, low):
    student, teacher = case.tensors(torch.float32)
    teacher[:, 1:3] = low  # the true class of one row is among them
    teacher[3, 1:] = low
    student.requires_grad_()

    loss = case(student, teacher)
    loss.backward()

    assert loss.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(
    "loss",
    [
        soft_target_loss,
        reverse_kl_loss,
        jensen_shannon_loss,
        skewed_kl_loss,
        total_variation_loss,
        partial(decoupled_loss, labels_N=LABELS),
        dist_loss,
        contrastive_loss,
    ],
)
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(loss, temperature):
    with pytest.raises(ValueError, match=f"temperature must be positive and finite, not {temperature}"):
        loss(torch.zeros(4, 3), torch.zeros(4, 3), temperature=temperature)


@pytest.mark.parametrize("case", ON_LOGITS, ids=str)
def test_logits_of_other_classes_are_refused(case):
    with pytest.raises(ValueError, match=r"student \(4, 3\) and teacher \(4, 5\) must both be \(N, C\)"):
        case(torch.zeros(4, 3), torch.zeros(4, 5))
