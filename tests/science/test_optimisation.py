"""Learning rates step by step, and optimisers as their spec says."""

import math

import pytest
import torch
from torch import nn

from distill.contracts.job import AdamW, ConstantSchedule, CosineSchedule, Sgd
from distill.science.optimisation import learning_rate_factor, make_optimizer, make_schedule


def test_a_cosine_rises_over_the_warm_up_and_falls_to_zero_after_the_last_step():
    spec = CosineSchedule(kind="cosine", warmup_steps=3)

    factors = [learning_rate_factor(step, spec, 11) for step in range(12)]

    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[7] == pytest.approx(0.5)
    assert factors[10] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))
    assert factors[11] == pytest.approx(0, abs=1e-15)


def test_a_constant_schedule_stays_once_warm():
    factors = [learning_rate_factor(step, ConstantSchedule(warmup_steps=1), 4) for step in range(4)]

    assert factors == [0.5, 1.0, 1.0, 1.0]


def test_the_schedule_sets_the_optimisers_rate_for_each_step():
    optimizer = make_optimizer(nn.Linear(2, 2), Sgd(lr=0.4))
    schedule = make_schedule(optimizer, CosineSchedule(kind="cosine", warmup_steps=1), 3)
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()

    assert rates == pytest.approx([0.2, 0.4, 0.2])


def test_sgd_without_momentum_takes_the_plain_step():
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    optimizer = make_optimizer(model, Sgd(lr=0.1, momentum=0, weight_decay=0.5))
    model(torch.tensor([[3.0]])).backward()

    optimizer.step()

    assert model.weight.item() == pytest.approx(before - 0.1 * (3.0 + 0.5 * before))


def test_frozen_weights_are_left_out():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)

    optimizer = make_optimizer(model, AdamW(kind="adamw"))

    assert [parameter.shape for parameter in optimizer.param_groups[0]["params"]] == [model.weight.shape]
