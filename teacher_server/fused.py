"""Members of one architecture as one forward pass: their weights stacked, the pass mapped over the stack.

Shapes: B rows of a device batch, G members of a group, C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state

from distill.science.models import Classifier


class FusedGroup:
    """Members that differ in nothing but their weights and statistics."""

    def __init__(self, positions: Sequence[int], members: Sequence[Classifier]) -> None:
        """Stack them; the members' own weights become views of the stack, so that nothing is held twice.

        Args:
            positions: of the members in the ensemble.
            members: of one architecture, on one device, in evaluation mode.
        """
        self.positions = tuple(positions)
        self._weights, self._buffers = stack_module_state(list(members))
        for place, member in enumerate(members):
            for name, parameter in member.named_parameters():
                parameter.data = self._weights[name].data[place]
        # its structure is called with weights from the stack
        self._pattern = members[0]
        self._call = torch.vmap(self._call_one, in_dims=(0, 0, None))

    def __call__(self, batch_B: Tensor) -> Tensor:
        """Logits (G, B, C) of raw inputs (B, ...)."""
        logits_GBC: Tensor = self._call(self._weights, self._buffers, batch_B)
        return logits_GBC

    def _call_one(self, weights: dict[str, Tensor], buffers: dict[str, Tensor], batch_B: Tensor) -> Tensor:
        logits_BC: Tensor = functional_call(self._pattern, (weights, buffers), (batch_B,))
        return logits_BC


def groups_of(members: Sequence[Classifier]) -> list[list[int]]:
    """Positions of members that share an architecture, two or more together, in order of their first."""
    groups: dict[object, list[int]] = {}
    for position, member in enumerate(members):
        groups.setdefault(_architecture(member), []).append(position)
    return [positions for positions in groups.values() if len(positions) > 1]


def _architecture(member: Classifier) -> object:
    """Equal for models of equal modules with tensors of equal shapes; the check compares the answers beside."""
    tensors = [*member.named_parameters(), *member.named_buffers()]
    return repr(member), tuple((name, tensor.shape, tensor.dtype) for name, tensor in tensors)
