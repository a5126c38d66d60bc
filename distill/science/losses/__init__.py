"""Distillation losses: pure functions of tensors, one family a module.

| module | on what |
|---|---|
| `response` | labels, soft targets, logits |
| `divergences` | other divergences of softened distributions |
| `classes` | classes apart, and in relation |
| `features` | features position by position: hints, attention |
| `channels` | what channels respond to: flow, neuron selectivity |
| `relations` | relations between the rows of a step |
| `contrastive` | a row's own teacher among those of other rows |

Student first, teacher second; teachers are constants, gradients flow to the student only. Every loss is a scalar, in
float32 at least. What doesn't fit is a ValueError; numbers that aren't finite are for the caller to refuse.
"""

from distill.science.losses.channels import flow_loss, flow_matrix, neuron_selectivity_loss
from distill.science.losses.classes import decoupled_loss, dist_loss
from distill.science.losses.contrastive import contrastive_loss
from distill.science.losses.divergences import (
    jensen_shannon_loss,
    reverse_kl_loss,
    skewed_kl_loss,
    total_variation_loss,
)
from distill.science.losses.features import attention_loss, attention_map, hint_loss
from distill.science.losses.precision import at_least_float32
from distill.science.losses.relations import (
    correlation_loss,
    probabilistic_transfer_loss,
    relational_angle_loss,
    relational_distance_loss,
    similarity_loss,
)
from distill.science.losses.response import (
    label_loss,
    logit_loss,
    soft_target_loss,
    standardise,
)

__all__ = [
    "at_least_float32",
    "attention_loss",
    "attention_map",
    "contrastive_loss",
    "correlation_loss",
    "decoupled_loss",
    "dist_loss",
    "flow_loss",
    "flow_matrix",
    "hint_loss",
    "jensen_shannon_loss",
    "label_loss",
    "logit_loss",
    "neuron_selectivity_loss",
    "probabilistic_transfer_loss",
    "relational_angle_loss",
    "relational_distance_loss",
    "reverse_kl_loss",
    "similarity_loss",
    "skewed_kl_loss",
    "soft_target_loss",
    "standardise",
    "total_variation_loss",
]
