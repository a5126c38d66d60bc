"""The parts together: a student learns digits from labels, and another learns them from the first one's answers."""

import pytest
import torch

from distill.contracts.datasets import DigitsData
from distill.contracts.ensemble import MeanProbability
from distill.contracts.job import CosineSchedule, Sgd
from distill.contracts.models import ZooArgs, ZooModel
from distill.contracts.objective import LabelsTerm, SoftTargetsTerm
from distill.contracts.scheme import Offline
from distill.science.answers import Answers, MemberLayout
from distill.science.datasets import load
from distill.science.inference import predict
from distill.science.learner import Learner
from distill.science.metrics import agreement, quality
from distill.science.models import build
from distill.science.objective import Source
from distill.science.optimisation import make_optimizer, make_schedule


@pytest.fixture
def digits(settings):
    return load(DigitsData(source="digits"), settings)


def trained(data, term, *, served_NC=None, num_steps=150):
    """A small CNN after a few steps on the training rows."""
    model = build(ZooModel(name="cnn", args=ZooArgs(width=12)), input=data.input, num_classes=10)
    learner = Learner(
        [model],
        [term],
        ensemble=MeanProbability(),
        scheme=Offline(),
        served=Source(MemberLayout.of([(1.0, 1)] if served_NC is not None else []), ({},)),
        input=data.input,
        num_classes=10,
    )
    optimizer = make_optimizer(learner, Sgd())
    schedule = make_schedule(optimizer, CosineSchedule(kind="cosine", warmup_steps=10), num_steps)
    for _ in range(num_steps):
        rows = data.train_rows[torch.randint(len(data.train_rows), (64,))]
        served = None if served_NC is None else Answers(served_NC[rows][:, None], (0,))
        loss = learner(data.inputs[rows], data.labels[rows], served, progress=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def test_a_student_learns_digits_from_labels_and_another_from_its_answers_alone(digits):
    teacher = trained(digits, LabelsTerm(kind="labels"))
    answers_NC = predict(teacher, digits.inputs)

    student = trained(digits, SoftTargetsTerm(kind="soft_targets"), served_NC=answers_NC)

    taught_NC, answers_NC = predict(student, digits.test_inputs), predict(teacher, digits.test_inputs)
    assert quality(answers_NC, digits.test_labels).accuracy > 0.93
    assert quality(taught_NC, digits.test_labels).accuracy > 0.93
    assert agreement(taught_NC.argmax(dim=1), answers_NC.argmax(dim=1)) > 0.93
