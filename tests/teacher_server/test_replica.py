"""A replica as Serve runs it: what it puts together, on a real Ray cluster."""

import time
from collections.abc import Callable

import numpy as np
import torch
from ray import serve
from ray.serve.handle import DeploymentHandle

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.pool import ReplicaLoad


def until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.05)


def ask(handle: DeploymentHandle, inputs_N: torch.Tensor) -> dict[str, np.ndarray]:
    header = {"request_id": "r", "team": "metered", "num_rows": len(inputs_N), "remember": False}
    _, tensors = handle.answer.remote(header, {"inputs": inputs_N.numpy()}).result(timeout_s=20)
    return tensors


def test_a_replica_says_how_loaded_it_is_and_leaves_what_teams_had_of_it(deploy, solo, rows, redis):
    application = names.application(solo.name, solo.version)
    usage, load = names.usage_key("metered", f"{now():%Y-%m}"), names.load_key(application)
    redis.delete(usage, load)
    deploy(solo)
    handle = DeploymentHandle(names.DEPLOYMENT, application)
    assert handle.describe.remote().result(timeout_s=10)["queued_rows"] == 0

    assert ask(handle, rows(200))["logits"].shape == (200, 1, 4)
    until(lambda: redis.hget(usage, "solo@1|rows_computed"))
    assert redis.hget(usage, "solo@1|rows_computed") == "200"
    assert float(str(redis.hget(usage, "solo@1|device_seconds"))) > 0
    (said,) = [ReplicaLoad.model_validate_json(text) for text in redis.hvals(load)]
    assert said.queued_rows == 0
    assert said.rows_per_s > 0

    ask(handle, rows(7, seed=1))
    serve.delete(application)
    assert redis.hget(usage, "solo@1|rows_computed") == "207"
    assert redis.hvals(load) == []
