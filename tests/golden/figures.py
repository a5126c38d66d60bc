"""The figures of published implementations, and our loss for each: `losses.json`, inputs in `losses.safetensors`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from distill.science.losses import (
    attention_loss,
    attention_map,
    correlation_loss,
    decoupled_loss,
    dist_loss,
    hint_loss,
    label_loss,
    neuron_selectivity_loss,
    probabilistic_transfer_loss,
    relational_angle_loss,
    relational_distance_loss,
    similarity_loss,
    soft_target_loss,
    standardise,
)

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """One number that another implementation gave, in float32."""

    seed: int
    loss: str
    value: float
    settings: Mapping[str, Any]
    source: str

    def ours(self, dtype: torch.dtype) -> float:
        """The same by our loss, computed in ``dtype``.

        Raises:
            KeyError: no loss claims this figure.
        """
        return CLAIMS[self.loss](self.inputs(dtype), self.settings).item()

    def inputs(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The tensors of this figure's seed, by name."""
        return {
            name.split("/")[1]: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in load_file(HERE / "losses.safetensors").items()
            if name.startswith(f"{self.seed}/")
        }

    def __str__(self) -> str:
        """As a test's name has it."""
        return f"{self.seed}-{self.loss}-" + ",".join(f"{name}={value:g}" for name, value in self.settings.items())


def all_figures() -> list[Figure]:
    """Every figure of the file, in its order."""
    return [Figure(**figure) for figure in json.loads((HERE / "losses.json").read_text())]


def _soft_targets(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    return soft_target_loss(given["student_logits"], given["teacher_logits"], temperature=settings["temperature"])


def _standardised(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    student_NC, teacher_NC = standardise(given["student_logits"]), standardise(given["teacher_logits"])
    return soft_target_loss(student_NC, teacher_NC, temperature=settings["temperature"])


def _hard_and_soft(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    hard = label_loss(given["student_logits"], given["labels"])
    return settings["hard_weight"] * hard + settings["soft_weight"] * _soft_targets(given, settings)


def _decoupled(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    return decoupled_loss(given["student_logits"], given["teacher_logits"], given["labels"], **settings)


def _dist(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    inter, intra, temperature = settings["beta"], settings["gamma"], settings["tau"]
    return dist_loss(
        given["student_logits"], given["teacher_logits"], inter=inter, intra=intra, temperature=temperature
    )


def _attention_code(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    maps = (attention_map(given[f"{side}_map"], power=settings.get("p", 2)) for side in ("student", "teacher"))
    return attention_loss(*maps, form="code")


def _attention_paper(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    return attention_loss(attention_map(given["student_map"]), attention_map(given["teacher_map"]), form="paper")


def _relational(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    both = given["student_embedding"], given["teacher_embedding"]
    return settings["distance"] * relational_distance_loss(*both) + settings["angle"] * relational_angle_loss(*both)


def _similarity(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    return similarity_loss(given["student_embedding"], given["teacher_embedding"])


def _probabilistic(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    return probabilistic_transfer_loss(given["student_embedding"], given["teacher_embedding"])


def _correlation(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    return correlation_loss(given["student_embedding_same"], given["teacher_embedding"], form="code")


def _hint(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    return hint_loss(given["student_map_second"], given["teacher_map_second"])


def _neuron_selectivity(given: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Tensor:
    return neuron_selectivity_loss(given["student_map"], given["teacher_map"])


Claim = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Tensor]

CLAIMS: dict[str, Claim] = {
    "soft_targets": _soft_targets,
    "logit_standardized_soft_targets": _standardised,
    "hard_and_soft": _hard_and_soft,
    "decoupled": _decoupled,
    "dist": _dist,
    "attention_code": _attention_code,
    "attention_paper": _attention_paper,
    "relational": _relational,
    "relational_distance": _relational,
    "relational_angle": _relational,
    "similarity_preserving": _similarity,
    "probabilistic_transfer": _probabilistic,
    "correlation": _correlation,
    "hint": _hint,
    "neuron_selectivity": _neuron_selectivity,
}
"""What computes a figure, by its name in the file: from the seed's inputs and the figure's settings."""
