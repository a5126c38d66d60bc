"""Optimisers and learning-rate schedules, from their specs."""

import math

from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

from distill.contracts.job import AdamW, ConstantSchedule, CosineSchedule, Sgd

OptimizerSpec = Sgd | AdamW
ScheduleSpec = ConstantSchedule | CosineSchedule


def make_optimizer(model: nn.Module, spec: OptimizerSpec) -> optim.Optimizer:
    """The optimiser of all of the model's parameters that want a gradient; weight decay applies to each of them."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if isinstance(spec, Sgd):
        return optim.SGD(
            parameters,
            lr=spec.lr,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
            nesterov=spec.nesterov and spec.momentum > 0,
        )
    return optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay)


def make_schedule(optimizer: optim.Optimizer, spec: ScheduleSpec, num_steps: int) -> LambdaLR:
    """The learning rate of each of ``num_steps`` steps; call ``.step()`` after every optimiser step.

    Source:
        Loshchilov, Hutter (2016), arXiv:1608.03983, without restarts, for the cosine.
    """
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, spec, num_steps))


def learning_rate_factor(step: int, spec: ScheduleSpec, num_steps: int) -> float:
    """What multiplies the learning rate at ``step``, counted from 0.

    The warm-up rises linearly, (step + 1) / (warmup_steps + 1), so that no step is wasted at zero; the cosine falls
    from 1 to 0, which it reaches after the last step.
    """
    if step < spec.warmup_steps:
        return (step + 1) / (spec.warmup_steps + 1)
    if isinstance(spec, ConstantSchedule):
        return 1.0
    progress = (step - spec.warmup_steps) / max(1, num_steps - spec.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
