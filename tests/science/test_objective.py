"""The sum of a job file's terms, and whom each term listens to."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distill.contracts.ensemble import MeanProbability
from distill.contracts.errors import InvalidSpec
from distill.contracts.objective import LabelsTerm, ServedTarget, SoftTargetsTerm
from distill.science.losses import soft_target_loss
from distill.science.objective import MemberLayout, Objective, Targets

GOLDEN = Path(__file__).parents[1] / "golden"
FIGURES = json.loads((GOLDEN / "losses.json").read_text())
TENSORS = load_file(GOLDEN / "losses.safetensors")
TWO_TEACHERS = MemberLayout.of([(1.0, 2), (3.0, 1)])


def objective(*terms, layout=TWO_TEACHERS):
    return Objective(terms, ensemble=MeanProbability(), layout=layout)


def soft(temperature=2.0, weight=1.0, **target):
    return SoftTargetsTerm(kind="soft_targets", temperature=temperature, weight=weight, target=ServedTarget(**target))


@pytest.mark.parametrize("figure", [figure for figure in FIGURES if figure["loss"] == "hard_and_soft"])
def test_labels_and_soft_targets_together_give_the_figures_of_torchdistill(figure):
    ours = figure["settings"]
    both = objective(
        LabelsTerm(kind="labels", weight=ours["hard_weight"]),
        soft(ours["temperature"], ours["soft_weight"]),
        layout=MemberLayout.of([(1.0, 1)]),
    )
    student_NC, labels_N = TENSORS[f"{figure['seed']}/student_logits"], TENSORS[f"{figure['seed']}/labels"]

    loss, _ = both(student_NC, labels_N, Targets(TENSORS[f"{figure['seed']}/teacher_logits"][:, None]))

    assert loss.item() == pytest.approx(figure["value"], rel=1e-5)


def test_a_teachers_weight_is_split_evenly_over_its_members():
    assert TWO_TEACHERS.weights().tolist() == [0.5, 0.5, 3.0]


@pytest.mark.parametrize(
    ("target", "place"), [({"teacher": 1}, 2), ({"teacher": 0, "member": 1}, 1), ({"teacher": 1, "member": 0}, 2)]
)
def test_a_term_listens_to_the_one_it_names(target, place):
    student_NC, served_NMC = torch.randn(4, 5), torch.randn(4, 3, 5)

    loss, _ = objective(soft(**target))(student_NC, torch.zeros(4).long(), Targets(served_NMC))

    expected = soft_target_loss(student_NC, served_NMC[:, place], temperature=2.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_every_terms_own_value_is_told_by_name_before_its_weight():
    student_NC, served_NMC = torch.randn(4, 5, requires_grad=True), torch.randn(4, 3, 5)
    terms = LabelsTerm(kind="labels", weight=0.1), soft(weight=0.5), soft(weight=2.0, teacher=1)

    loss, values = objective(*terms)(student_NC, torch.zeros(4).long(), Targets(served_NMC))
    loss.backward()

    assert list(values) == ["labels", "soft_targets.1", "soft_targets.2"]
    weighted = 0.1 * values["labels"] + 0.5 * values["soft_targets.1"] + 2.0 * values["soft_targets.2"]
    assert loss.item() == pytest.approx(weighted.item(), rel=1e-6)
    assert student_NC.grad is not None
    assert not values["labels"].requires_grad


def test_a_target_that_is_not_there_is_refused_before_any_step():
    with pytest.raises(InvalidSpec, match="names member 2, but positions go from 0 to 1"):
        objective(soft(teacher=0, member=2))
    with pytest.raises(InvalidSpec, match="names teacher 2"):
        objective(soft(teacher=2))
    with pytest.raises(InvalidSpec, match="there are none"):
        objective(soft(), layout=MemberLayout.of([]))


def test_answers_of_too_few_members_are_refused():
    with pytest.raises(ValueError, match="must be"):
        objective(soft())(torch.zeros(2, 4), torch.zeros(2).long(), Targets(torch.zeros(2, 2, 4)))
    with pytest.raises(ValueError, match="none"):
        objective(soft())(torch.zeros(2, 4), torch.zeros(2).long(), Targets())


def test_labels_alone_need_no_teacher():
    loss, values = objective(LabelsTerm(kind="labels"), layout=MemberLayout.of([]))(
        torch.zeros(2, 4), torch.zeros(2).long(), Targets()
    )

    assert loss.item() == pytest.approx(1.3862944)
    assert set(values) == {"labels"}
