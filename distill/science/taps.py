"""Taps: what a model's inner modules give, read by name while it runs.

A name is the dotted path of a module inside the classifier's ``net``, such as ``stages.1``.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import InputSpec
from distill.science.inputs import example_input
from distill.science.models import Classifier


class Taps:
    """While entered, keeps the output of each named module's last call, by name.

        with Taps(model, ["stages.1", "pool"]) as features:
            logits_NC = model(inputs)
        features["stages.1"]  # (N, channels, height, width), with its gradient

    A module that gives several things is read at its first tensor.
    """

    def __init__(self, model: Classifier, names: Sequence[str]) -> None:
        """Find the modules.

        Raises:
            InvalidSpec: a name is not a module of the model.
        """
        modules = tappable_modules(model)
        if unknown := [name for name in names if name not in modules]:
            raise no_such_tap("objective", "the model", unknown[0], list(modules))
        self._modules = {name: modules[name] for name in names}
        self._hooks: list[RemovableHandle] = []
        self.features: dict[str, Tensor] = {}

    def __enter__(self) -> dict[str, Tensor]:
        self.features.clear()
        self._hooks = [module.register_forward_hook(self._keep(name)) for name, module in self._modules.items()]
        return self.features

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, name: str) -> Any:
        def keep(module: nn.Module, arguments: Any, output: Any) -> None:
            tensor = _first_tensor(output)
            if tensor is not None:
                self.features[name] = tensor

        return keep


def tappable_modules(model: Classifier) -> dict[str, nn.Module]:
    """Every named module of the model's net, by its dotted path."""
    return {name: module for name, module in model.net.named_modules() if name}


def tap_shapes(model: Classifier, input: InputSpec) -> dict[str, tuple[int, ...]]:
    """The shape of one row at each tap that gives a tensor with a row axis, in the order of the modules.

    Runs the model twice, with one row and with two, in evaluation mode: what doesn't grow with the rows is no tap.
    """
    one, two = _shapes(model, input, 1), _shapes(model, input, 2)
    return {
        name: one[name][1:]
        for name in tappable_modules(model)
        if name in one and one[name][:1] == (1,) and two[name] == (2, *one[name][1:])
    }


def no_such_tap(field: str, whose: str, name: str, there: Sequence[str]) -> InvalidSpec:
    """A name in the job file's ``field`` that is no tap of this model, with those that are."""
    near = get_close_matches(name, there, n=1)
    return InvalidSpec(
        f"{field}: {whose} has no module '{name}' that gives one output a row; it has: {', '.join(there)}",
        field=field,
        expected=f"one of {', '.join(there)}"[:500],
        got=name,
        hint=f"did you mean '{near[0]}'?" if near else None,
    )


def _shapes(model: Classifier, taken: InputSpec, num_rows: int) -> dict[str, tuple[int, ...]]:
    parameter = next(model.parameters())
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), Taps(model, list(tappable_modules(model))) as features:
            model(example_input(taken, num_rows).to(parameter.device))
    finally:
        model.train(was_training)
    return {name: tuple(tensor.shape) for name, tensor in features.items()}


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return next((part for part in parts if isinstance(part, Tensor)), None)
