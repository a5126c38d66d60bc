"""What every test may use: a Redis of its own, and one real stack (Redis, Ray, control plane) for the whole run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.client.client import StillhouseClient
from services.stack import redis_server
from services.stack.home import StackHome
from services.stack.settings import StackSettings
from services.stack.stack import Stack


@pytest.fixture(scope="session")
def own_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis that no stack uses: tests may empty it."""
    home = StackHome(tmp_path_factory.mktemp("own-redis"))
    home.make()
    child, state = redis_server.start_redis(home, environment={}, last=None)
    yield state.url
    child.stop(10.0)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The one stack of this run."""
    settings = StackSettings(home=tmp_path_factory.mktemp("stack"))
    with Stack(settings, port=0, num_cpus=4, environment={"STILLHOUSE_TEACHER_IDLE_S": "20"}) as stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[StillhouseClient]:
    """A client of the stack."""
    with StillhouseClient(stack.url) as client:
        yield client


@pytest.fixture(scope="session")
def data_root(stack: Stack) -> Path:
    """Where the stack reads a user's own files."""
    return stack.node.data_root
