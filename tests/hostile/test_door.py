"""Hostile windows at the door of the pool: each gets one plain problem, and none reaches a teacher's device."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.hostile.corpus import evil, memory, reset_peak, safetensors_of
from tests.teacher_server.door.doors import DoorWithoutCluster, a_body, a_reservation, images

MOST_BYTES = 96 << 20
ASK = "/reservations/r-1/answer"
HEADER = {"request_id": "q", "num_rows": 2}
ROWS = {"dtype": "U8", "shape": [2, 1, 2, 2], "data_offsets": [0, 8]}


def window(header: Any = None, tensors: Mapping[str, Any] | None = None, data: bytes = bytes(8), **more: Any) -> bytes:
    """A body with this header and these tensors, whether they make sense or not."""
    said = header if isinstance(header, str) else json.dumps(HEADER | (header or {}))
    described = {"__metadata__": {"header": said}} | ({"inputs": ROWS} if tensors is None else dict(tensors)) | more
    return safetensors_of(json.dumps(described).encode(), data)


WINDOWS: dict[str, bytes] = {
    "nothing": b"",
    "JSON": b'{"inputs": [1]}',
    "a header as long as memory": b"\xff" * 8,
    "a header of a megabyte and one": safetensors_of(b"{" + b" " * (1 << 20) + b"}"),
    "no metadata": safetensors_of(json.dumps({"inputs": ROWS}).encode(), bytes(8)),
    "metadata that are a list": safetensors_of(json.dumps({"__metadata__": [1], "inputs": ROWS}).encode(), bytes(8)),
    "a header in the metadata that is no JSON": window("{"),
    "a header in the metadata that is a list": window("[]"),
    "a header in the metadata nested deep": window("[" * 50_000),
    "a header with NaN": window('{"request_id": "q", "num_rows": NaN}'),
    "a header that asks for what isn't there": window({"run": "os.system"}),
    "a name of 10,000 characters": window({"request_id": "x" * 10_000}),
    "no rows": window({"num_rows": 0}),
    "fewer rows than it says": window({"num_rows": 2**62}),
    "a number of rows of 5,000 digits": window('{"request_id": "q", "num_rows": ' + "9" * 5000 + "}"),
    "members that are words": window({"members": ["all"]}),
    "a precision that isn't one": window({"precision": "fp0"}),
    "greatest classes below one": window({"top_k": 0}),
    "a deadline below 0": window({"deadline_s": -1}),
    "a deadline without end": window('{"request_id": "q", "num_rows": 2, "deadline_s": 1e999}'),
    "taps of a wrong type": window({"taps": "features"}),
    "another tensor than is asked for": window(tensors={"pickle": ROWS}),
    "two tensors": window(more=ROWS | {"data_offsets": [8, 16]}, data=bytes(16)),
    "tensors that overlap": window(more=ROWS),
    "a tensor beyond its body": window(tensors={"inputs": ROWS | {"data_offsets": [0, 1 << 40]}}),
    "a tensor before its body": window(tensors={"inputs": ROWS | {"data_offsets": [-8, 0]}}),
    "a shape of a petabyte": window(tensors={"inputs": ROWS | {"shape": [1 << 50]}}),
    "a shape that overflows": window(tensors={"inputs": ROWS | {"shape": [1 << 63, 2]}}),
    "a shape of two axes": window(tensors={"inputs": ROWS | {"shape": [2, 4]}}),
    "numbers of another type": window(tensors={"inputs": ROWS | {"dtype": "F16", "shape": [1, 1, 2, 2]}}),
    "numbers of a type that numpy lacks": window(tensors={"inputs": ROWS | {"dtype": "BF16", "shape": [1, 1, 2, 2]}}),
    "numbers of a type that names code": window(tensors={"inputs": ROWS | {"dtype": "O"}}),
    "a body that is cut": a_body(images(4))[:-1],
    "a body with more behind it": a_body(images(4)) + b"more",
    "rows of another shape": a_body(np.zeros((2, 3, 2, 2), np.uint8)),
    "rows of floats": a_body(np.zeros((2, 1, 2, 2), np.float32)),
    "a name that stands twice": safetensors_of(
        b'{"inputs":{"dtype":"U8","shape":[2,1,2,2],"data_offsets":[0,8]},' + json.dumps(
            {"__metadata__": {"header": json.dumps(HEADER)}, "inputs": ROWS}).encode()[1:], bytes(8)),
    "a team of 10,000 characters": window({"team": "x" * 10_000}),
}  # fmt: skip


@pytest.mark.parametrize("what", [*WINDOWS, "a pickle"])
async def test_no_teacher_is_asked_with(what: str, tmp_path: Any):
    sent = evil(tmp_path / "root") if what == "a pickle" else WINDOWS[what]
    door = DoorWithoutCluster(a_reservation())
    before = reset_peak()
    async with door.client() as client:
        answer = await client.post(ASK, content=sent)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), answer.text[:400]
    assert answer.json()["code"] == "invalid_spec"
    assert len(answer.content) < 16 << 10
    assert not list(tmp_path.iterdir())
    assert memory("VmHWM") - before < MOST_BYTES


async def test_a_window_without_fault_is_answered():
    async with DoorWithoutCluster(a_reservation()).client() as client:
        assert (await client.post(ASK, content=window())).status_code == 200


@pytest.mark.parametrize("path", [
    "/reservations/..%2f..%2fx/answer", "/reservations/%00/answer", f"/reservations/{'x' * 5000}/answer",
    "/reservations/*/answer", "/reservations//answer",
])  # fmt: skip
async def test_no_reservation_is_found_at(path: str):
    async with DoorWithoutCluster(a_reservation()).client() as client:
        answer = await client.post(path, content=window())
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
