"""What every source yields: two splits of checked tensors, and the names of the classes.

Shapes: N rows, C channels, H height, W width, F features, L tokens.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distill.contracts.errors import InvalidData
from distill.contracts.models import TokensInput

MOST_CLASSES = 100_000
"""Without names: a number beyond is no class but something else, such as a row's own id."""

TEST_SEED = 0
"""Draws the tenth that is tested on where a source has no test split of its own."""


@dataclass(frozen=True)
class Split:
    """Rows and their labels."""

    inputs: Tensor
    """uint8 images (N, C, H, W), float32 vectors (N, F) or int64 token ids (N, L)."""
    labels: Tensor
    """Class numbers, (N,) int64; -1 where a row has none."""


@dataclass(frozen=True)
class Raw:
    """A data set as its files say, before a job chooses rows."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    files: tuple[Path, ...] = ()
    """What was read: while their sizes and times stay, the digest does."""
    reading: str = ""
    """How it was read: another way of reading the same files is another data set."""
    tokens: TokensInput | None = None
    """Where a tokenizer made the rows: its vocabulary, which may be larger than what the rows use, and its padding."""
    origin: str = ""
    """What the digest covers besides the training split: of texts, themselves and their tokenizer."""


def checked_split(inputs: Tensor, labels: Tensor | None, *, field: str) -> Split:
    """A split of tensors as a user's file holds them.

    Args:
        inputs: uint8 (N, C, H, W) or (N, H, W), floating (N, F), or integer (N, L).
        labels: integers (N,), or None for no labels at all.
        field: the place in the job file that errors name, such as ``dataset.train``.

    Raises:
        InvalidData: a shape or type that no model takes, no rows, labels that don't fit.
    """
    rows = _checked_inputs(inputs, field)
    if labels is None:
        return Split(rows, torch.full((len(rows),), -1))
    if labels.dim() != 1 or not _holds_integers(labels):
        raise invalid(field, "labels must be one integer a row", expected="integers (N,)", got=described(labels))
    if len(labels) != len(rows):
        raise invalid(
            field, "the numbers of rows and labels differ", expected=f"{len(rows)} labels", got=f"{len(labels)} labels"
        )
    labels = labels.long()
    if len(labels) and labels.min() < -1:
        raise invalid(
            field, "a label is out of range", expected="0 or more, or -1 for none", got=str(int(labels.min()))
        )
    return Split(rows, labels)


def checked_raw(raw: Raw) -> Raw:
    """The same, once its labels fit its classes and its splits fit each other.

    Raises:
        InvalidData: fewer than two classes, a label outside of them, test rows without labels or of another shape.
    """
    if len(raw.classes) < 2 or len(set(raw.classes)) != len(raw.classes):
        raise invalid(
            "dataset.classes",
            "there must be two classes or more, and no name twice",
            expected="2 or more names",
            got=str(list(raw.classes))[:200],
        )
    for field, split in (("dataset.train", raw.train), ("dataset.test", raw.test)):
        _check_range(split.labels, len(raw.classes), field)
    if raw.test.labels.min() < 0:
        raise invalid("dataset.test", "a test row has no label", expected="a label for every test row", got="-1")
    if raw.test.inputs.shape[1:] != raw.train.inputs.shape[1:] or raw.test.inputs.dtype != raw.train.inputs.dtype:
        raise invalid(
            "dataset.test",
            "test rows are unlike training rows",
            expected=described(raw.train.inputs),
            got=described(raw.test.inputs),
        )
    return raw


def split_off_test(split: Split) -> tuple[Split, Split]:
    """Training and test split: a tenth of the labelled rows, drawn by a fixed seed, is tested on.

    Raises:
        InvalidData: there are too few labelled rows.
    """
    labelled = torch.nonzero(split.labels >= 0).squeeze(1)
    if len(labelled) < 2:
        raise invalid(
            "dataset.test",
            "a tenth of the labelled rows is to be tested on, and there are too few; name a test file",
            expected="2 labelled rows or more",
            got=str(len(labelled)),
        )
    order = torch.randperm(len(labelled), generator=torch.Generator().manual_seed(TEST_SEED))
    is_test = torch.zeros(len(split.labels), dtype=torch.bool)
    is_test[labelled[order[: max(1, len(labelled) // 10)]]] = True
    return Split(split.inputs[~is_test], split.labels[~is_test]), Split(split.inputs[is_test], split.labels[is_test])


def numbered_classes(names: tuple[str, ...] | None, *splits: Split) -> tuple[str, ...]:
    """The names given, or ``0``, ``1``, ... up to the greatest label.

    Raises:
        InvalidData: the greatest label is `MOST_CLASSES` or more.
    """
    if names is not None:
        return names
    greatest = max(int(split.labels.max()) for split in splits)
    if greatest >= MOST_CLASSES:
        raise invalid(
            "dataset.train", "a label is no class number", expected=f"below {MOST_CLASSES}", got=str(greatest)
        )
    return tuple(str(number) for number in range(greatest + 1))


def invalid(field: str, what: str, **details: str) -> InvalidData:
    """An error that names its field, and says what was expected and what came."""
    facts = f": expected {details['expected']}, got {details['got']}" if {"expected", "got"} <= details.keys() else ""
    return InvalidData(f"{field}: {what}{facts}", field=field, **details)


def check_fits(num_bytes: int, most_bytes: int, *, field: str, what: str) -> None:
    """Refuse what would take more memory than the operator gives to a split; asked before the memory is taken.

    Raises:
        InvalidData: ``num_bytes`` is more than ``most_bytes``.
    """
    if num_bytes > most_bytes:
        raise invalid(
            field,
            f"{what} takes too much memory",
            expected=f"at most {most_bytes:,} bytes",
            got=f"{num_bytes:,} bytes",
            hint="give fewer or smaller rows; the operator sets the bound in STILLHOUSE_DATASET_BYTES",
        )


def described(tensor: Tensor) -> str:
    """Such as ``uint8 (60000, 28, 28)``."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _checked_inputs(inputs: Tensor, field: str) -> Tensor:
    if 0 in inputs.shape:
        raise invalid(field, "there are no rows", expected="at least one row", got=described(inputs))
    if inputs.dtype == torch.uint8 and inputs.dim() in {3, 4}:
        _check_axes(inputs, field)
        return (inputs if inputs.dim() == 4 else inputs.unsqueeze(1)).contiguous()
    if inputs.is_floating_point() and inputs.dim() == 2:
        vectors = inputs.float().contiguous()
        if not vectors.isfinite().all():
            raise invalid(
                field, "an input is not finite", expected="finite float32 numbers", got="NaN, infinity or beyond 3.4e38"
            )
        return vectors
    if _holds_integers(inputs) and inputs.dim() == 2:
        tokens = inputs.long().contiguous()
        if tokens.min() < 0:
            raise invalid(field, "token ids are negative", expected="ids >= 0", got=str(int(tokens.min())))
        return tokens
    raise invalid(
        field,
        "no model takes such inputs",
        expected="uint8 images (N, C, H, W) or (N, H, W), float vectors (N, F) or integer token ids (N, L)",
        got=described(inputs),
    )


def _check_axes(images: Tensor, field: str) -> None:
    """Refuse what has its channels last: trained on as it is, its columns would be taken for rows."""
    if images.dim() == 4 and images.shape[3] in {1, 3, 4} and images.shape[1] > 4 and images.shape[2] > 4:
        raise invalid(
            field,
            "images have their channels last; turn them with inputs.transpose(0, 3, 1, 2)",
            expected="uint8 images (N, C, H, W)",
            got=described(images),
        )


def _holds_integers(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _check_range(labels: Tensor, num_classes: int, field: str) -> None:
    smallest, greatest = int(labels.min()), int(labels.max())
    if smallest < -1 or greatest >= num_classes:
        raise invalid(
            field,
            "a label is out of range",
            expected=f"0 to {num_classes - 1}, or -1 for none",
            got=str(smallest if smallest < -1 else greatest),
        )
