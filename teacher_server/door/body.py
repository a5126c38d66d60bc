"""A header and its tensors as one body: safetensors, with the header as JSON under ``header`` in its metadata.

It needs neither torch nor Ray: the door and the clients outside of the cluster share it.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from distill.contracts.unique_keys import unique_keys
from teacher_server.window import Array

MEDIA_TYPE = "application/vnd.safetensors"
HEADER = "header"
MAX_HEADER_BYTES = 2**20
"""Of the names, types and shapes of the tensors, and the header."""


def pack(header: Mapping[str, Any], tensors: Mapping[str, Array]) -> bytes:
    """The body of a request or an answer."""
    contiguous = {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}
    return save(contiguous, {HEADER: json.dumps(header)})  # type: ignore[no-any-return]


def unpack(body: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """The header and the tensors of a body; what they say is for others to check.

    Raises:
        ValueError: it is not such a body.
    """
    size = int.from_bytes(body[:8], "little")
    if len(body) < 8 or size > min(MAX_HEADER_BYTES, len(body) - 8):
        raise ValueError(f"{len(body)} bytes are no safetensors, or a part of them is missing")
    header = _header(body[8 : 8 + size])
    try:
        tensors = load(body)
    except SafetensorError as error:
        raise ValueError(f"no safetensors: {error}") from error
    except KeyError as error:
        raise ValueError(f"tensors of type {error} are not taken") from error
    return header, tensors


def _header(described: bytes) -> dict[str, Any]:
    metadata = _object(described, "of the safetensors").get("__metadata__")
    text = metadata.get(HEADER) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"the metadata of the safetensors has no '{HEADER}'")  # noqa: TRY004 - of the content
    return _object(text, f"'{HEADER}' in the metadata")


def _object(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=unique_keys)
    except RecursionError as error:
        raise ValueError(f"the header {where} is nested too deep") from error
    if not isinstance(header, dict):
        raise ValueError(f"the header {where} is no JSON object")  # noqa: TRY004 - of the content
    return header
