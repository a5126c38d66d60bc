"""What breaks here: a Redis of each test's own, and workers that are real, tiny processes. Ray is a fake of our own port."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts.keys import hash_of_key
from distill.contracts.settings import NodeSettings
from services.control_plane.main import create_app
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from services.stack.home import StackHome
from services.stack.processes import free_ports
from tests.faults.processes import ProcessRay
from tests.faults.redis_to_break import RedisToBreak
from tests.services.control_plane.conftest import ADMIN_KEY, AUTHORIZED


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisToBreak]:
    """A Redis that this test may break."""
    home = StackHome(tmp_path / "redis-home")
    home.make()
    server = RedisToBreak(home)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """A client of it, as the control plane opens its own; of the one that all share, and emptied, where it isn't broken."""
    breaks = "server" in request.fixturenames
    url = request.getfixturevalue("server").url if breaks else request.getfixturevalue("own_redis_url")
    client: Redis = Redis.from_url(url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def store(redis: Redis) -> Store:
    """Records in it."""
    return Store(redis)


@pytest.fixture
def processes(server: RedisToBreak, tmp_path: Path) -> Iterator[ProcessRay]:
    """A cluster whose jobs are tiny workers; none is left after the test."""
    ray = ProcessRay(server.url, tmp_path)
    yield ray
    ray.kill_all()


@pytest.fixture
async def api(server: RedisToBreak, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A control plane on that Redis, whose sockets wait for half a second, and whose Ray isn't there."""
    async with a_control_plane(f"{server.url}?socket_timeout=0.5", tmp_path) as client:
        yield client


@asynccontextmanager
async def a_control_plane(url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The whole application on this Redis; its Ray isn't there."""
    (tmp_path / "data").mkdir()
    node = NodeSettings(redis_url=url, storage=tmp_path, data_root=tmp_path / "data", cache=tmp_path / "cache")
    dashboard = f"http://127.0.0.1:{free_ports(1)[0]}"
    app = create_app(Settings(node=node, admin_key=hash_of_key(ADMIN_KEY), ray_dashboard=dashboard))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://stillhouse", headers=AUTHORIZED) as client,
    ):
        yield client
