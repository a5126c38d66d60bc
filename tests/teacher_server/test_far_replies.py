"""Replies that come from another node: a second one joins the stack's Ray for as long as a test."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray

from services.stack.processes import spawn, wait_until
from teacher_server.calls import Call, Line

LARGE_BYTES = 300 * 2**20
SHORT_LOOK_S = 0.02


class FarResponse:
    """Serve's response to a request that a replica on the other node has answered."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref

    def _to_object_ref_sync(self, _timeout_s: float) -> Any:
        return self._ref

    def result(self, timeout_s: float) -> Any:
        return ray.get(self._ref, timeout=timeout_s)


class FarLine(Line):
    """A line to a replica there."""

    def handle(self) -> Any:
        replica = ray.remote(num_cpus=0, resources={"far": 1})(lambda: np.ones(LARGE_BYTES, np.uint8))
        ref = replica.remote()
        ray.wait([ref], fetch_local=False)
        return SimpleNamespace(answer=SimpleNamespace(remote=lambda: FarResponse(ref)))


@pytest.fixture
def _far_node(connected_ray: None, driver_environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    environment = driver_environment | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
    address = environment.pop("RAY_ADDRESS")
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={address}", "--block"]
    has = ["--num-cpus=0", '--resources={"far": 1}', f"--object-store-memory={2 * LARGE_BYTES}"]
    node = spawn([*start, *has], environment=environment, folder=tmp_path, log=tmp_path / "ray.log")
    assert wait_until(lambda: "far" in ray.cluster_resources(), timeout_s=60, every_s=0.1)
    yield
    node.stop(15.0)


@pytest.mark.long
@pytest.mark.usefixtures("_far_node")
def test_a_reply_that_takes_longer_than_one_look_comes_all_the_same(solo):
    call = Call(FarLine(solo, on_wait=None, on_return=None, give_up_s=60), "answer", (), patience_s=20)
    deadline = time.monotonic() + 20
    while not call.is_done:
        assert time.monotonic() < deadline, "the reply never came"
        call.poll(SHORT_LOOK_S)
    assert call.reply.nbytes == LARGE_BYTES
