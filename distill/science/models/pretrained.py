"""Folders of the transformers library, as its ``save_pretrained`` writes them: read from disk, safetensors alone."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from distill.contracts.confined import LeavesRoot, NoPlainFile, real_path
from distill.contracts.errors import InvalidSpec, InvalidWeights
from distill.science.models.classifier import Classifier

NOT_OF_THE_ARCHITECTURE = frozenset(
    {"architectures", "dtype", "id2label", "label2id", "model_type", "num_labels", "problem_type", "torch_dtype",
     "transformers_version"}
)  # fmt: skip
"""What a folder says of its own origin and classes."""

CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "trust_remote_code"})
"""They name code that lies in the folder, or far away."""

MOST_JSON_BYTES = 1 << 24


def folder_config(folder: Path, model_type: str) -> dict[str, Any]:
    """What the folder's ``config.json`` says of its architecture.

    Raises:
        InvalidWeights: the file is missing or torn.
        InvalidSpec: it is of another model type.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise _invalid(folder, "has no config.json", expected="a folder as save_pretrained writes it")
    _check_config(folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises whatever its parts raise
        raise _invalid(folder, f"has a config.json that can't be read: {_said(error)}") from error
    if config.model_type != model_type:
        raise InvalidSpec(
            f"student.model_type: the folder '{folder.name}' holds a {config.model_type}, not a {model_type}",
            field="student.model_type",
            expected=config.model_type,
            got=model_type,
        )
    said: dict[str, Any] = config.to_diff_dict()
    # what an older version of the library wrote and this one doesn't know, no model of it reads
    known = AutoConfig.for_model(model_type)
    return {
        key: value
        for key, value in said.items()
        if key not in NOT_OF_THE_ARCHITECTURE and key[0] != "_" and hasattr(known, key)
    }


def load_folder(model: Classifier, folder: Path, *, fresh_head: bool = False) -> tuple[str, ...]:
    """Fill the model with the folder's weights, whatever names the library gave them when it saved them.

    Args:
        model: a transformers model; changed only if everything fits.
        folder: holds ``model.safetensors``, whole or in shards.
        fresh_head: the folder gives the body alone. What the model has beside it stays as it was drawn, and so does a
            pooler that the folder lacks; another task's head in the folder is passed over.

    Returns:
        Names of the tensors that stay as they were drawn; none without ``fresh_head``.

    Raises:
        InvalidWeights: there are none, they are torn, a tensor is missing, left over, or of another shape.
    """
    _check_weights(folder)
    loaded, found = _loaded(model.net, folder)
    own = model.net.state_dict()
    fresh = _fresh(model.net, own, found["missing_keys"]) if fresh_head else frozenset()
    foreign = _beside_the_body(model.net, found["unexpected_keys"]) if fresh_head else frozenset()
    problems = [
        f"{what}: {_some(names)}"
        for what, names in (
            ("missing", set(found["missing_keys"]) - fresh),
            ("left over", set(found["unexpected_keys"]) - foreign),
            ("of another shape", {name for name, *_ in found["mismatched_keys"]} - fresh),
        )
        if names
    ]
    if problems:
        raise _invalid(
            folder,
            "doesn't fit the model: " + "; ".join(problems),
            hint="classes, channels and sizes must be those of the folder; 'fresh_head: true' takes its body alone",
        )
    if bad := [name for name, tensor in loaded.items() if not tensor.isfinite().all()]:
        raise _invalid(folder, f"holds values that are not finite: {_some(bad)}")
    model.net.load_state_dict({name: own[name] if name in fresh else loaded[name] for name in own})
    return tuple(name for name in own if name in fresh)


def _check_config(folder: Path) -> None:
    """See that the configuration is a plain object that brings no code: the library would look for it in the folder."""
    _check_own(folder, "config.json")
    try:
        said = json.loads((folder / "config.json").read_bytes())
    except (ValueError, RecursionError) as error:
        raise _invalid(folder, f"has a config.json that can't be read: {_said(error)}") from error
    if not isinstance(said, dict):
        raise _invalid(folder, "has a config.json that is no JSON object")
    if brings := sorted(said.keys() & CODE_KEYS):
        raise _invalid(
            folder,
            f"has a config.json with '{brings[0]}': it names code to be run, and none but the library's own ever is",
            expected="a model type of the transformers library",
            got=brings[0],
        )


def _check_weights(folder: Path) -> None:
    """See that what the library will open lies in the folder itself."""
    for path in folder.glob("*.json"):
        _check_own(folder, path.name)
    for path in folder.glob("*.safetensors"):
        _check_own(folder, path.name, most_bytes=None)
    if (folder / "adapter_config.json").exists():
        raise _invalid(
            folder, "holds an adapter, which names a model elsewhere; merge it into the model, and save that"
        )
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return
    try:
        shards = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise _invalid(folder, f"has a torn {index.name}: {_said(error)}") from error
    if strange := sorted(str(shard) for shard in shards if not (folder / str(shard)).parent.samefile(folder)):
        raise _invalid(folder, f"has an {index.name} that names '{strange[0][:200]}', which lies elsewhere")


def _check_own(folder: Path, name: str, *, most_bytes: int | None = MOST_JSON_BYTES) -> None:
    try:
        real = real_path(folder, name)
    except (LeavesRoot, NoPlainFile) as error:
        raise _invalid(
            folder, f"has a '{name}' of which {error}", hint="copy the folder with what its links lead to: cp -rL"
        ) from error
    if most_bytes is not None and real.stat().st_size > most_bytes:
        raise _invalid(folder, f"has a '{name}' of more than {most_bytes:,} bytes")


def _loaded(net: Any, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The folder's weights under the net's names, and what the library says of those that don't fit."""
    if not any(folder.glob("*.safetensors")):
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
        raise _invalid(folder, "has no safetensors weights, and no other kind is ever opened", got=there)
    try:
        loaded, found = type(net).from_pretrained(
            folder,
            config=net.config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # the library raises whatever its parts raise
        raise _invalid(folder, f"can't be loaded: {_said(error)}") from error
    return loaded.state_dict(), found


def _fresh(net: Any, names: Iterable[str], missing: Iterable[str]) -> frozenset[str]:
    """What is beside the body, and what of a pooler is missing: some libraries save bodies without one."""
    return _beside_the_body(net, names) | {name for name in missing if "pooler" in name.split(".")}


def _beside_the_body(net: Any, names: Iterable[str]) -> frozenset[str]:
    # a folder of the body alone says its names without the prefix
    parts = {net.base_model_prefix, *(name for name, _ in net.base_model.named_children())}
    return frozenset(name for name in names if name.split(".")[0] not in parts)


def _some(names: Iterable[str], most: int = 5) -> str:
    shown = sorted(names)
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def _invalid(folder: Path, what: str, **details: str) -> InvalidWeights:
    return InvalidWeights(f"the folder '{folder.name}' {what}", **details)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
