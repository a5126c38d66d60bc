"""What these tests share: the run's Redis and Ray, and a node's settings of their own."""

import json
import os
from collections.abc import Iterator

import pytest
from redis import Redis

from distill.contracts.settings import NodeSettings
from distill.journal.client import open_redis
from services.stack import ray_head
from services.stack.stack import Stack


@pytest.fixture(scope="session")
def settings(own_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> NodeSettings:
    """A node's settings: its own storage, data and cache."""
    root = tmp_path_factory.mktemp("storage")
    (root / "data").mkdir()
    return NodeSettings(redis_url=own_redis_url, storage=root, data_root=root / "data", cache=root / "cache")


@pytest.fixture
def redis(own_redis_url: str) -> Iterator[Redis]:
    """A client of that server."""
    client = open_redis(own_redis_url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def driver_environment(stack: Stack, settings: NodeSettings) -> dict[str, str]:
    """What Ray gives the driver of a job: the cluster's address, and the job's own variables for its workers."""
    ray = stack.state.ray
    assert ray is not None
    job = {"runtime_env": {"env_vars": settings.to_environment()}}
    return {
        **os.environ,
        **settings.to_environment(),
        **ray_head.ray_environment(stack.home),
        "RAY_ADDRESS": f"127.0.0.1:{ray.ports['port']}",
        "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job),
    }
