"""Folders of the transformers library, as its ``save_pretrained`` writes them: read from disk, safetensors alone."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distill.contracts.errors import InvalidSpec, InvalidWeights
from distill.science.models.classifier import Classifier

NOT_OF_THE_ARCHITECTURE = frozenset(
    {"architectures", "dtype", "id2label", "label2id", "model_type", "num_labels", "problem_type", "torch_dtype",
     "transformers_version"}
)  # fmt: skip
"""What a folder says of its own origin and classes."""


def folder_config(folder: Path, model_type: str) -> dict[str, Any]:
    """What the folder's ``config.json`` says of its architecture.

    Raises:
        InvalidWeights: the file is missing or torn.
        InvalidSpec: it is of another model type.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise _invalid(folder, "has no config.json", expected="a folder as save_pretrained writes it")
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
    return {key: value for key, value in said.items() if key not in NOT_OF_THE_ARCHITECTURE and key[0] != "_"}


def load_folder(model: Classifier, folder: Path) -> None:
    """Fill the model with the folder's weights, whatever names the library gave them when it saved them.

    Args:
        model: a transformers model; changed only if everything fits.
        folder: holds ``model.safetensors``, whole or in shards.

    Raises:
        InvalidWeights: there are none, they are torn, a tensor is missing, left over, or of another shape.
    """
    if not any(folder.glob("*.safetensors")):
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
        raise _invalid(folder, "has no safetensors weights, and no other kind is ever opened", got=there)
    try:
        loaded, found = type(model.net).from_pretrained(  # type: ignore[attr-defined]  # every net of transformers has it
            folder,
            config=model.net.config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # the library raises whatever its parts raise
        raise _invalid(folder, f"can't be loaded: {_said(error)}") from error
    problems = [
        f"{what}: {_some(found[key])}"
        for what, key in (
            ("missing", "missing_keys"), ("left over", "unexpected_keys"), ("of another shape", "mismatched_keys"),
        )
        if found[key]
    ]  # fmt: skip
    if problems:
        raise _invalid(
            folder,
            "doesn't fit the model: " + "; ".join(problems),
            hint="classes, channels and sizes must be those of the folder, its head included",
        )
    if bad := [name for name, tensor in loaded.state_dict().items() if not tensor.isfinite().all()]:
        raise _invalid(folder, f"holds values that are not finite: {_some(bad)}")
    model.net.load_state_dict(loaded.state_dict())


def _some(names: Iterable[Any], most: int = 5) -> str:
    shown = sorted(str(name if isinstance(name, str) else name[0]) for name in names)
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def _invalid(folder: Path, what: str, **details: str) -> InvalidWeights:
    return InvalidWeights(f"the folder '{folder.name}' {what}", **details)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
