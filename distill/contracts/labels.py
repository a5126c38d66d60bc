"""Labels: a user's own marks on a job, by which it is found again; they change nothing of what is learned."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from distill.contracts.base import InWords
from distill.contracts.errors import InvalidSpec

MAX_LABELS = 16

LabelKey = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9._/-]{0,61}[a-z0-9])?$"),
    InWords(
        "expected a label's key: lower-case letters, digits and inner . _ / -, at most 63 characters, such as 'team/owner'"
    ),
]
LabelValue = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{0,63}$"),
    InWords("expected a label's value: at most 63 characters on one line"),
]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=MAX_LABELS)]

_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)


def read_labels(given: list[str], *, field: str = "label") -> dict[str, str]:
    """``["owner=ada", ...]`` as labels.

    Raises:
        InvalidSpec: one is not ``key=value``, or such a label can't be; ``field`` is where they were given.
    """
    pairs = [one.partition("=") for one in given]
    for one, (_, sign, _) in zip(given, pairs, strict=True):
        if not sign:
            raise InvalidSpec(f"{field}: expected key=value, got {one!r}", field=field, expected="key=value", got=one)
    try:
        return _LABELS.validate_python({key: value for key, _, value in pairs})
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidSpec(f"{field}: {first['msg']}", field=field, got=str(first["input"])[:200]) from error


def fitting(labels: Mapping[Any, Any]) -> dict[str, str]:
    """Those that can be labels: records of before may hold others."""
    kept: dict[str, str] = {}
    for key, value in labels.items():
        try:
            kept |= _LABELS.validate_python({key: value}) if len(kept) < MAX_LABELS else {}
        except ValidationError:
            continue
    return kept
