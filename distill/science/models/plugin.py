"""Models of the operator's own: a factory that the job file names and the node's settings allow."""

import importlib
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import InputSpec, PluginModel
from distill.science.inputs import example_input
from distill.science.models.classifier import Classifier

FIELD = "student.import"


def build(spec: PluginModel, *, input: InputSpec, num_classes: int, allowed: Collection[str]) -> Classifier:
    """Call the factory with ``(input, num_classes, **args)``, and try its net once on a row of noise.

    Args:
        spec: names the factory.
        input: what a row looks like; rows come to the net normalised, token ids as they are.
        num_classes: C.
        allowed: the import paths that the operator lists; no other module is ever imported.

    Raises:
        InvalidSpec: the path is not listed, can't be imported, or its factory doesn't give logits (1, C) for a row.
    """
    if spec.import_path not in allowed:
        raise _wrong(
            f"'{spec.import_path}' is not on the list of the operator of this cluster (STILLHOUSE_PLUGINS)",
            expected="one of " + ", ".join(sorted(allowed)) if allowed else "no plugin: the list is empty",
            got=spec.import_path,
        )
    factory = _factory(spec.import_path)
    try:
        net = factory(input, num_classes, **spec.args)
    except Exception as error:  # the operator's code raises whatever it likes
        raise _wrong(f"{spec.import_path} can't build this model: {_said(error)}") from error
    if not isinstance(net, nn.Module):
        raise _wrong(f"{spec.import_path} gives no torch module", expected="torch.nn.Module", got=type(net).__name__)
    model = Classifier(net, input=input)
    _try_once(model, input, num_classes, spec.import_path)
    return model.train()


def _factory(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module that is imported may raise anything
        raise _wrong(f"'{path}' can't be imported on this node: {_said(error)}", got=path) from error
    if not callable(found):
        raise _wrong(f"'{path}' can't be called", expected="a function or a class", got=type(found).__name__)
    return found  # type: ignore[no-any-return]  # whatever it is, it can be called


def _try_once(model: Classifier, taken: InputSpec, num_classes: int, path: str) -> None:
    try:
        with torch.inference_mode():
            logits_NC = model.eval()(example_input(taken, 1))
    except Exception as error:  # the operator's code raises whatever it likes
        raise _wrong(f"the model of {path} can't answer for a row: {_said(error)}") from error
    if logits_NC.shape != (1, num_classes):
        raise _wrong(
            f"the model of {path} gives no logits", expected=str((1, num_classes)), got=str(tuple(logits_NC.shape))
        )


def _wrong(what: str, **details: str) -> InvalidSpec:
    facts = f": expected {details['expected']}, got {details['got']}" if {"expected", "got"} <= details.keys() else ""
    return InvalidSpec(f"{FIELD}: {what}{facts}", field=FIELD, **details)


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
