"""Weights on disk: one safetensors file and its card, written whole or not at all, and never unpickled."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import safetensors
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from distill.contracts.errors import InvalidWeights
from distill.contracts.models import InputSpec, ModelCard, ModelSpec
from distill.science.files import write_whole
from distill.science.models import Classifier, ManyHeads, build
from distill.science.tensor_header import read_tensor_header

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"


def save_model(
    model: Classifier,
    folder: Path,
    *,
    spec: ModelSpec,
    input: InputSpec,
    classes: tuple[str, ...],
) -> ModelCard:
    """Write ``model.safetensors`` and then ``model.json`` into ``folder``, which is made if need be.

    Each file appears whole: it is written beside its place, flushed to the disk and renamed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.net.state_dict().items()}
    write_whole(folder / WEIGHTS_FILE, lambda part: save_file(tensors, part))
    card = ModelCard(
        model=spec,
        heads=model.spec if isinstance(model, ManyHeads) else None,
        input=input,
        classes=classes,
        weights_digest=file_digest(folder / WEIGHTS_FILE),
    )
    write_whole(folder / CARD_FILE, lambda part: part.write_text(card.model_dump_json(indent=1)))
    return card


def load_model(folder: Path, *, plugins: Collection[str] = ()) -> tuple[Classifier, ModelCard]:
    """Build the model that ``folder`` holds, on the CPU, in training mode; ``plugins`` are the import paths that are allowed.

    Raises:
        InvalidWeights: a file is missing, torn or changed, or the weights don't fit the card's model.
    """
    try:
        card = ModelCard.model_validate_json((folder / CARD_FILE).read_bytes())
    except OSError as error:
        raise _invalid(folder / CARD_FILE, f"can't be read: {error.strerror}") from error
    except ValidationError as error:
        raise _invalid(folder / CARD_FILE, f"is not a model card: {error.errors()[0]['msg']}") from error
    model = build(card.model, input=card.input, num_classes=len(card.classes), heads=card.heads, plugins=plugins)
    load_weights(model, folder / WEIGHTS_FILE, digest=card.weights_digest)
    return model, card


def load_weights(model: Classifier, file: Path, *, digest: str | None = None) -> None:
    """Fill the model with the weights of a safetensors file; every name and shape must agree.

    Args:
        model: changed only if the whole file fits.
        file: a safetensors file with the names of ``model.net``.
        digest: ``sha256:...`` of the file, where it is known.

    Raises:
        InvalidWeights: the file is missing, torn, not safetensors, not the one of the digest, holds a value that is
            not finite, or its names and shapes are not the model's.
    """
    if digest is not None and file.is_file() and (came := file_digest(file)) != digest:
        raise _invalid(file, "is not the file that its card names", expected=digest, got=came)
    tensors = _read(file, model.net.state_dict())
    _check_finite(tensors, file)
    model.net.load_state_dict(tensors, strict=True)


def file_digest(path: Path) -> str:
    """``sha256:`` and the hexadecimal SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _read(file: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Its tensors, once it claims to hold the very ones that are wanted: no more than those is ever read."""
    if not file.is_file():
        raise _invalid(file, "is missing, or no file", expected="a safetensors file", got="no such file")
    try:
        with file.open("rb") as opened:
            start = opened.read(2)
        _check_fit(wanted, read_tensor_header(file), file)
        tensors: dict[str, Tensor] = load_file(file)
    except OSError as error:
        raise _invalid(file, f"can't be read: {error}") from error
    except (safetensors.SafetensorError, ValueError, RuntimeError) as error:
        raise _unreadable(file, start, error) from error
    return tensors


def _unreadable(file: Path, start: bytes, error: Exception) -> InvalidWeights:
    # torch.save writes a zip archive, pickle.dump its protocol's number
    if start in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}:
        return _invalid(
            file,
            "is a pickle (a torch.save file), and those are never opened: they can run code; "
            "save the state_dict with safetensors.torch.save_file instead",
            expected="a safetensors file",
            got="a pickle",
        )
    return _invalid(
        file,
        f"is torn, or not a safetensors file ({error}); write or copy it again",
        expected="a whole safetensors file",
        got=f"{file.stat().st_size} bytes that can't be read as one",
    )


def _check_fit(wanted: Mapping[str, Tensor], came: Mapping[str, Tensor], file: Path) -> None:
    problems = [
        *_listed("missing", sorted(wanted.keys() - came.keys())),
        *_listed("unexpected", sorted(came.keys() - wanted.keys())),
        *_listed("of another shape", _misshapen(wanted, came)),
        *_listed("of another kind of number", _mistyped(wanted, came)),
    ]
    if problems:
        raise _invalid(
            file,
            "doesn't fit the model: " + "; ".join(problems),
            expected=f"{len(wanted)} tensors with the names and shapes of the model",
            got=f"{len(came)} tensors",
            hint="classes, channels and sizes must be those of the weights, and names those of the model in memory: "
            "save_file(model.state_dict()) writes them, transformers' save_pretrained renames some",
        )


def _check_finite(came: Mapping[str, Tensor], file: Path) -> None:
    if bad := [name for name, tensor in came.items() if tensor.is_floating_point() and not tensor.isfinite().all()]:
        raise _invalid(file, "; ".join(_listed("not finite", bad)), expected="finite weights", got="NaN or infinity")


def _misshapen(wanted: Mapping[str, Tensor], came: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} is {tuple(came[name].shape)}, the model's is {tuple(wanted[name].shape)}"
        for name in wanted
        if name in came and came[name].shape != wanted[name].shape
    ]


def _mistyped(wanted: Mapping[str, Tensor], came: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} is {came[name].dtype}, the model's is {wanted[name].dtype}"
        for name in wanted
        if name in came and came[name].is_floating_point() != wanted[name].is_floating_point()
    ]


def _listed(what: str, names: list[str], most: int = 5) -> list[str]:
    if not names:
        return []
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return [f"{what}: {', '.join(names[:most])}{rest}"]


def _invalid(file: Path, what: str, **details: str) -> InvalidWeights:
    return InvalidWeights(f"{file.name}: {what}", **details)
