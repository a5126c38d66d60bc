"""What every test may use: a Redis of its own, and one real stack (Redis, Ray, control plane) for the whole run.

A test that needs Ray in its own process is a driver of the stack's (`connected_ray`): a process can't have two.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis
from redis import Redis

from distill.contracts.settings import NodeSettings
from distill.journal.client import open_redis
from services.client.client import StillhouseClient
from services.control_plane.deployment import DOOR_HOST, PROXY_LOCATION
from services.stack import ray_head, redis_server
from services.stack.home import RedisState, StackHome
from services.stack.settings import StackSettings
from services.stack.stack import Stack
from tests.keys import for_ever

# Ray reads this one when it is imported, and test modules import it before any fixture is asked for
os.environ["RAY_AUTH_MODE"] = "token"

# how long an example takes says something of the machine, and nothing of the code
hypothesis.register_profile("shared machine", deadline=None)
hypothesis.load_profile("shared machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it to what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


STUDENTS = Path(__file__).parent / "student_worker"
BEGAN = time.monotonic()
NOT_BEGUN = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`python -m tests` runs both parts side by side; `.ci/run` runs some of the long tests, others on each day."""
    parser.addoption("--part", choices=("stack", "others"), help="of the tests those of one process, of two")
    parser.addoption("--first", type=int, default=0, help="begin with this one, counted round and round; then go on")
    parser.addoption(
        "--seconds", type=float, help="begin no test later than this, nor one whose own time limit is more"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the part that runs elsewhere; what trains students goes with the stack, for both to take equally long."""
    part = config.getoption("part")
    if part is None:
        return
    kept, left = [], []
    for item in items:
        with_stack = "stack" in getattr(item, "fixturenames", ()) or STUDENTS in item.path.parents
        (kept if with_stack == (part == "stack") else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin elsewhere, if that is asked for."""
    first = session.config.getoption("first") % max(1, len(session.items))
    session.items[:] = session.items[first:] + session.items[:first]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Begin nothing for which there is no time."""
    seconds, own = item.config.getoption("seconds"), item.get_closest_marker("timeout")
    if seconds is None or (time.monotonic() - BEGAN <= seconds and not (own and own.args[0] > seconds)):
        return None
    item.config.stash[NOT_BEGUN] = item.config.stash.get(NOT_BEGUN, 0) + 1
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say of how many tests this run says nothing."""
    if count := config.stash.get(NOT_BEGUN, 0):
        terminalreporter.write_line(
            f"{count} tests were not begun: --seconds was over, or is less than their own limit"
        )


@pytest.fixture(scope="session")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisState]:
    """A real Redis that no stack uses: tests may empty it."""
    home = StackHome(tmp_path_factory.mktemp("own-redis"))
    home.make()
    child, state = redis_server.start_redis(home, environment={}, last=None)
    yield state
    child.stop(10.0)


@pytest.fixture(scope="session")
def own_redis_url(own_redis: RedisState) -> str:
    """Its address."""
    return own_redis.url


@pytest.fixture
def redis(own_redis_url: str) -> Iterator[Redis]:
    """A client of that Redis; whatever a test leaves there may lie there for ever, or ends by itself."""
    client = open_redis(own_redis_url)
    yield client
    assert for_ever(client) == []
    client.close()


@pytest.fixture(scope="session")
def settings(own_redis: RedisState, tmp_path_factory: pytest.TempPathFactory) -> NodeSettings:
    """A node on that Redis, with storage, data and cache that no stack uses."""
    root = tmp_path_factory.mktemp("storage")
    (root / "data").mkdir()
    redis = {"redis_url": own_redis.url, "door_redis_url": own_redis.door_url}
    return NodeSettings(**redis, storage=root, data_root=root / "data", cache=root / "cache")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The one stack of this run."""
    settings = StackSettings(home=tmp_path_factory.mktemp("stack"))
    with Stack(settings, port=0, num_cpus=4, environment={"STILLHOUSE_TEACHER_IDLE_S": "20"}) as stack:
        yield stack
        with open_redis(stack.redis_url) as redis:  # after the whole run
            assert for_ever(redis) == []


@pytest.fixture
def client(stack: Stack) -> Iterator[StillhouseClient]:
    """A client of the stack."""
    with StillhouseClient(stack.url, key=stack.key) as client:
        yield client


@pytest.fixture(scope="session")
def data_root(stack: Stack) -> Path:
    """Where the stack reads a user's own files."""
    return stack.node.data_root


@pytest.fixture(scope="session")
def driver_environment(stack: Stack, settings: NodeSettings) -> dict[str, str]:
    """What Ray gives the driver of a job: the cluster's address, and the job's own variables for its workers.

    Whatever such a driver starts, a replica too, takes ``settings`` for its node's.
    """
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


@pytest.fixture(scope="session")
def connected_ray(driver_environment: dict[str, str], stack: Stack) -> Iterator[None]:
    """This process as a driver of the stack's Ray, and Serve as the control plane starts it, with the stack's door.

    What is deployed from here lives beside what the control plane deploys: a PUT to Serve's REST API removes only
    applications that came by PUT.
    """
    import ray

    with pytest.MonkeyPatch.context() as environment:
        for name, value in driver_environment.items():
            environment.setenv(name, value)
        ray.init(log_to_driver=False)
    _start_serve(stack)
    yield
    ray.shutdown()


def _start_serve(stack: Stack) -> None:
    from ray import serve

    ray = stack.state.ray
    assert ray is not None
    options = {"host": DOOR_HOST, "port": ray.door_port}
    try:
        serve.start(proxy_location=PROXY_LOCATION, http_options=options)
    except ValueError:  # the control plane starts it at this very moment; then it is there
        serve.start(proxy_location=PROXY_LOCATION, http_options=options)
