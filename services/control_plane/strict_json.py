"""JSON as this API takes it: what two readers could understand differently, or that grows while it is read, is refused."""

import json
import math
from typing import Any

from distill.contracts.errors import Problem
from distill.contracts.unique_keys import unique_keys

MAX_DEPTH = 32
MAX_KEY_LENGTH = 200
MAX_KEYS = 1000
"""Of one object: what isn't known among them is told one by one."""
MAX_VALUES = 100_000
LEAST_INTEGER, GREATEST_INTEGER = -(2**63), 2**63 - 1


def fault_of(body: bytes) -> Problem | None:
    """Why ``body`` is refused, or None where it may be read: UTF-8, no key twice, finite numbers of 64 bits, whole texts."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return _fault(f"the body is not UTF-8: {error.reason} at byte {error.start}")
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse, parse_int=_integer, parse_float=_finite
        )
        _check_whole(value)
    except RecursionError:
        return _fault(f"the body is nested deeper than {MAX_DEPTH} levels")
    except ValueError as error:
        return _fault(f"the body is not JSON: {error}")
    return None


def _fault(message: str) -> Problem:
    return Problem(code="invalid_json", message=message)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise ValueError(f"an object has {len(pairs):,} keys, more than {MAX_KEYS:,}")
    return unique_keys(pairs)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _integer(digits: str) -> int:
    # Python refuses to read thousands of digits, and would take long for a few of them
    value = int(digits) if len(digits) <= 20 else None
    if value is None or not LEAST_INTEGER <= value <= GREATEST_INTEGER:
        raise ValueError(f"{digits[:24]}... is no integer of 64 bits")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:24]} is greater than any number of 64 bits")
    return value


def _check_whole(value: Any) -> None:
    """See that it is neither too deep nor too much, and that every text could be written as UTF-8."""
    level, num_values = [value], 0
    for _ in range(MAX_DEPTH):
        num_values += len(level)
        if num_values > MAX_VALUES:
            raise ValueError(f"it holds more than {MAX_VALUES:,} values")
        below: list[Any] = []
        for one in level:
            if isinstance(one, str):
                _check_text(one)
            elif isinstance(one, dict):
                for key in one:
                    _check_key(key)
                below += one.values()
            elif isinstance(one, list):
                below += one
        if not below:
            return
        level = below
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _check_key(key: str) -> None:
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError(f"the key {key[:24]!a}... is longer than {MAX_KEY_LENGTH} characters")
    _check_text(key)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise ValueError(f"the text {text[:24]!a} holds a NUL")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"the text {text[:24]!a} holds half of a character")
