"""JSON as the API takes it: what everybody reads alike passes, and is what the standard library reads."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.control_plane.strict_json import MAX_DEPTH, fault_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_can_be_read_in_one_way_only_passes(value: object, ascii_only: bool):
    assert fault_of(json.dumps(value, ensure_ascii=ascii_only).encode()) is None


@given(st.binary(max_size=200))
def test_whatever_comes_there_is_a_verdict_and_no_error(body: bytes):
    fault = fault_of(body)
    assert fault is None or fault.code == "invalid_json"


@pytest.mark.parametrize(("depth", "passes"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False), (500, False), (10**6, False)])
def test_what_is_too_deep_is_refused(depth: int, passes: bool):
    assert (fault_of(b"[" * depth + b"]" * depth) is None) == passes


@pytest.mark.parametrize(
    ("number", "passes"), [(2**63 - 1, True), (2**63, False), (-(2**63), True), (-(2**63) - 1, False)]
)
def test_integers_have_64_bits(number: int, passes: bool):
    assert (fault_of(str(number).encode()) is None) == passes
