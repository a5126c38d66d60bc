"""The two bases of every contract: what users write is closed, what we stored stays readable."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema


class Spec(BaseModel):
    """What a person writes: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, serialize_by_alias=True
    )


class Stored(BaseModel):
    """What a process of ours wrote: frozen, and keys of a newer version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class InWords:
    """Says in words what a pattern asks for, where pydantic would show the pattern."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="wrong_form", custom_error_message=self._words
        )


Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$"),
    InWords("expected lower-case letters, digits and inner hyphens, at most 48 characters, such as 'fashion-small'"),
]
"""Safe in paths, keys and Ray ids."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]

Timestamp = AwareDatetime


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def digest_of(model: BaseModel) -> str:
    """SHA-256 of the model's canonical JSON: equal content gives an equal digest."""
    canonical = json.dumps(model.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def digest_of_bytes(content: bytes) -> str:
    """SHA-256."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
