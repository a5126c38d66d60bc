"""The forward pass of an ensemble: each member in its turn, or members of one architecture together.

Shapes: B rows of a device batch, M members asked, C classes.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ComputePrecision
from distill.science.models import Classifier
from distill.science.taps import Taps
from distill.science.terms.features import reduced
from teacher_server.fused import FusedGroup, groups_of
from teacher_server.window import tap_key

CPU_ROWS = 128
"""Rows that a CPU computes at once: what a layer leaves for the next one should stay in its caches. Of 1,024 rows at once a
ResNet of width 16 computed 595 a second on one core, of 128 at once 1,375; bit for bit the same."""


class Forward:
    """Of members on one device, in evaluation mode."""

    def __init__(
        self, members: Sequence[Classifier], *, device: torch.device, precision: ComputePrecision, fused: bool
    ) -> None:
        """The arguments are those of `runner.Ensemble`."""
        self._members = list(members)
        groups = groups_of(self._members) if fused else []
        self._groups = [FusedGroup(group, [self._members[position] for position in group]) for group in groups]
        self._device = device
        self._precision = precision

    @property
    def is_fused(self) -> bool:
        """Whether there are members that run as one forward pass."""
        return bool(self._groups)

    def __call__(
        self, batch_B: Tensor, members: tuple[int, ...], taps: tuple[MemberTap, ...]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (B, M, C) float32 of raw inputs (B, ...) on the device, and each tap (B, ...) by its key, float32."""
        if self._device.type != "cpu" or len(batch_B) <= CPU_ROWS:
            return self._at_once(batch_B, members, taps)
        parts = [self._at_once(part_B, members, taps) for part_B in torch.split(batch_B, CPU_ROWS)]
        tapped = {key: torch.cat([features[key] for _, features in parts]) for key in parts[0][1]}
        return torch.cat([logits_BMC for logits_BMC, _ in parts]), tapped

    def _at_once(
        self, batch_B: Tensor, members: tuple[int, ...], taps: tuple[MemberTap, ...]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if taps:
            return self._one_by_one(batch_B, members, taps)
        logits: dict[int, Tensor] = {}
        for group in self._groups:
            if set(group.positions) <= set(members):
                logits |= zip(group.positions, self._compute(group, batch_B), strict=True)
        for member in members:
            if member not in logits:
                logits[member] = self._compute(self._members[member], batch_B)
        return torch.stack([logits[member] for member in members], dim=1), {}

    def _one_by_one(
        self, batch_B: Tensor, members: tuple[int, ...], taps: tuple[MemberTap, ...]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits: list[Tensor] = []
        tapped: dict[str, Tensor] = {}
        for member in members:
            wanted = [asked.tap for asked in taps if asked.member == member]
            modules = tuple(dict.fromkeys(module for tap in wanted for module in tap.modules))
            with ExitStack() as stack:
                outputs = stack.enter_context(Taps(self._members[member], modules)) if modules else {}
                logits.append(self._compute(self._members[member], batch_B))
            features = {module: _full(output_B) for module, output_B in outputs.items()}
            tapped |= {tap_key(member, tap): reduced(tap, features) for tap in wanted}
        return torch.stack(logits, dim=1), tapped

    def _compute(self, model: Classifier | FusedGroup, batch_B: Tensor) -> Tensor:
        with in_precision(self._precision, self._device):
            logits: Tensor = model(batch_B)
        return logits.float()


def in_precision(precision: ComputePrecision, device: torch.device) -> torch.autocast:
    """While entered, matrix products and convolutions compute so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _full(output_B: Tensor) -> Tensor:
    return output_B.float() if output_B.is_floating_point() else output_B
