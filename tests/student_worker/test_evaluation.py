"""What is measured of the teachers beside the student."""

import torch
from torch import Tensor

from distill.contracts.ensemble import MeanProbability
from distill.contracts.settings import NodeSettings
from distill.science.datasets import load
from distill.science.models import build
from student_worker.evaluation import evaluate
from tests.student_worker.fakes import FakePool
from tests.student_worker.jobs import a_spec, a_teacher


def a_loud_and_a_quiet_member(inputs: Tensor) -> Tensor:
    """(N, 2, 10) logits: the first is sure of the row's most inked pixel of ten, the second always says 6."""
    loud_NC = torch.nn.functional.one_hot(columns(inputs), 10) * 20.0
    quiet_NC = torch.nn.functional.one_hot(torch.full((len(inputs),), 6), 10) * 0.1
    return torch.stack([loud_NC, quiet_NC], dim=1)


def columns(inputs: Tensor) -> Tensor:
    return inputs.flatten(1)[:, 20:30].float().argmax(dim=1)


def test_each_member_is_held_against_the_voice_of_all(settings: NodeSettings):
    spec = a_spec()
    data = load(spec.dataset, settings)
    model = build(spec.student, input=data.input, num_classes=10)
    teacher = a_teacher(classes=data.facts.classes)

    found = evaluate(
        model,
        data,
        (teacher,),
        FakePool(answer_with=a_loud_and_a_quiet_member),
        ensemble=MeanProbability(),
        best=None,
        device=torch.device("cpu"),
    )

    assert found.predictions.ensemble == tuple(columns(data.test_inputs).tolist())
    # the loud one is always heard over the quiet one, which is right with it where it says 6 itself
    says_six = float((columns(data.test_inputs) == 6).double().mean())
    assert found.teachers[0].agreements == (1.0, says_six)
    assert 0.01 < says_six < 0.99
