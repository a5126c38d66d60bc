"""The sum of a job file's terms, and whom each term listens to."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distill.contracts.ensemble import Each, MeanProbability, PerMemberHeads
from distill.contracts.errors import InvalidSpec
from distill.contracts.objective import LabelsTerm, ServedTarget, SoftTargetsTerm
from distill.science.answers import Answers, MemberLayout, Output
from distill.science.losses import soft_target_loss
from distill.science.objective import Objective, Source

GOLDEN = Path(__file__).parents[1] / "golden"
FIGURES = json.loads((GOLDEN / "losses.json").read_text())
TENSORS = load_file(GOLDEN / "losses.safetensors")
TWO_TEACHERS = MemberLayout.of([(1.0, 2), (3.0, 1)])


def objective(*terms, layout=TWO_TEACHERS, ensemble=None, num_classes=5):
    sources = {"served": Source(layout, ({},) * layout.num_members)} if layout.num_members else {}
    ensemble = ensemble or MeanProbability()
    return Objective(terms, ensemble=ensemble, sources=sources, student={}, num_classes=num_classes)


def loss_of(whole, student_NC, labels_N, served_NMC=None, *, progress=0.0, **more):
    targets = {}
    if served_NMC is not None:
        targets["served"] = Answers(served_NMC, tuple(range(served_NMC.shape[1])))
    return whole(Output(student_NC), labels_N, targets, progress=progress, **more)


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

    loss = loss_of(both, student_NC, labels_N, TENSORS[f"{figure['seed']}/teacher_logits"][:, None])

    assert loss.item() == pytest.approx(figure["value"], rel=1e-5)


def test_a_teachers_weight_is_split_evenly_over_its_members():
    assert TWO_TEACHERS.weights().tolist() == [0.5, 0.5, 3.0]


@pytest.mark.parametrize(
    ("target", "place"), [({"teacher": 1}, 2), ({"teacher": 0, "member": 1}, 1), ({"teacher": 1, "member": 0}, 2)]
)
def test_a_term_listens_to_the_one_it_names(target, place):
    student_NC, served_NMC = torch.randn(4, 5), torch.randn(4, 3, 5)

    loss = loss_of(objective(soft(**target)), student_NC, torch.zeros(4).long(), served_NMC)

    expected = soft_target_loss(student_NC, served_NMC[:, place], temperature=2.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_is_the_sum_of_the_terms_each_times_its_weight():
    student_NC, served_NMC = torch.randn(4, 5, requires_grad=True), torch.randn(4, 3, 5)
    labels_N = torch.zeros(4).long()
    terms = LabelsTerm(kind="labels", weight=0.1), soft(weight=0.5), soft(weight=2.0, teacher=1)

    loss = loss_of(objective(*terms), student_NC, labels_N, served_NMC)
    loss.backward()

    alone = [loss_of(objective(term), student_NC, labels_N, served_NMC).item() for term in terms]
    assert loss.item() == pytest.approx(sum(alone), rel=1e-6)
    assert student_NC.grad is not None


def test_a_target_that_is_not_there_is_refused_before_any_step():
    with pytest.raises(InvalidSpec, match="names member 2, but positions go from 0 to 1"):
        objective(soft(teacher=0, member=2))
    with pytest.raises(InvalidSpec, match="names teacher 2"):
        objective(soft(teacher=2))
    with pytest.raises(InvalidSpec, match="nobody is there"):
        objective(soft(), layout=MemberLayout.of([]))


def test_answers_that_did_not_come_are_no_reason_to_learn_something_else():
    with pytest.raises(ValueError, match="needs answers from 'served', and none came"):
        loss_of(objective(soft()), torch.zeros(2, 5), torch.zeros(2).long())


def test_labels_alone_need_no_teacher():
    whole = objective(LabelsTerm(kind="labels"), layout=MemberLayout.of([]))

    loss = loss_of(whole, torch.zeros(2, 4), torch.zeros(2).long())

    assert loss.item() == pytest.approx(1.3862944)


def test_a_weight_and_a_temperature_follow_the_progress_of_the_training():
    student_NC, served_NMC = torch.randn(4, 5), torch.randn(4, 3, 5)
    rising = {"kind": "linear", "start": 0.0, "stop": 2.0}
    stepped = {"kind": "steps", "values": [4.0, 1.0], "at": [0.5]}
    whole = objective(soft(temperature=stepped, weight=rising))

    at = {
        when: loss_of(whole, student_NC, torch.zeros(4).long(), served_NMC, progress=when) for when in (0.0, 0.25, 0.75)
    }

    warm, cool = (loss_of(objective(soft(t)), student_NC, torch.zeros(4).long(), served_NMC) for t in (4.0, 1.0))
    assert at[0.0].item() == 0
    assert at[0.25].item() == pytest.approx(0.5 * warm.item(), rel=1e-6)
    assert at[0.75].item() == pytest.approx(1.5 * cool.item(), rel=1e-6)


def test_only_members_who_spoke_are_listened_to():
    student_NC, served_NMC = torch.randn(4, 5), torch.randn(4, 3, 5)
    spoke = {"served": Answers(served_NMC[:, [1]], (1,))}
    first_teacher, second_teacher = objective(soft(teacher=0)), objective(soft(teacher=1))

    loss = first_teacher(Output(student_NC), torch.zeros(4).long(), spoke, progress=0.0)
    silence = second_teacher(Output(student_NC), torch.zeros(4).long(), spoke, progress=0.0)

    assert loss.item() == pytest.approx(
        soft_target_loss(student_NC, served_NMC[:, 1], temperature=2.0).item(), rel=1e-5
    )
    assert silence.item() == 0


def test_each_member_on_its_own_is_the_weighted_mean_of_their_losses():
    student_NC, served_NMC = torch.randn(4, 5), torch.randn(4, 3, 5)

    loss = loss_of(objective(soft(), ensemble=Each(combine="each")), student_NC, torch.zeros(4).long(), served_NMC)

    alone = [soft_target_loss(student_NC, served_NMC[:, m], temperature=2.0).item() for m in range(3)]
    assert loss.item() == pytest.approx((0.5 * alone[0] + 0.5 * alone[1] + 3 * alone[2]) / 4, rel=1e-5)


def test_with_a_head_for_each_member_every_head_mimics_its_own():
    heads_NMC, served_NMC = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    whole = objective(soft(), ensemble=PerMemberHeads(combine="per_member_heads"))
    output = Output(heads_NMC.mean(dim=1), heads_NMC)

    loss = whole(output, torch.zeros(4).long(), {"served": Answers(served_NMC, (0, 1, 2))}, progress=0.0)

    alone = [soft_target_loss(heads_NMC[:, m], served_NMC[:, m], temperature=2.0).item() for m in range(3)]
    assert loss.item() == pytest.approx((0.5 * alone[0] + 0.5 * alone[1] + 3 * alone[2]) / 4, rel=1e-5)


def test_ranks_that_hold_unequal_numbers_of_labels_have_the_whole_batchs_loss_as_their_mean():
    student_NC, served_NMC = torch.randn(8, 5), torch.randn(8, 3, 5)
    labels_N = torch.tensor([1, -1, -1, -1, 2, 3, 0, -1])
    whole = objective(LabelsTerm(kind="labels", weight=0.3), soft(weight=0.7))

    together = loss_of(whole, student_NC, labels_N, served_NMC)
    first = loss_of(whole, student_NC[:4], labels_N[:4], served_NMC[:4], label_share=1 * 2 / 4)
    second = loss_of(whole, student_NC[4:], labels_N[4:], served_NMC[4:], label_share=3 * 2 / 4)

    assert (first + second).item() / 2 == pytest.approx(together.item(), rel=1e-6)
