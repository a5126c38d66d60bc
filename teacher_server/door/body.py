"""A header and its tensors as one body: safetensors, with the header as JSON under ``header`` in its metadata.

It needs neither torch nor Ray: the door and the clients outside of the cluster share it.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic_core import from_json
from safetensors import SafetensorError
from safetensors.numpy import load, save

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
    try:
        tensors = load(body)
    except SafetensorError as error:
        raise ValueError(f"no safetensors: {error}") from error
    except KeyError as error:
        raise ValueError(f"tensors of type {error} are not taken") from error
    return _header(body[8 : 8 + size]), tensors


def _header(described: bytes) -> dict[str, Any]:
    text = (from_json(described).get("__metadata__") or {}).get(HEADER)
    if text is None:
        raise ValueError(f"the metadata of the safetensors has no '{HEADER}'")
    header = from_json(text)
    if not isinstance(header, dict):
        raise ValueError(f"'{HEADER}' in the metadata is no JSON object")  # noqa: TRY004 - of the content
    return header
