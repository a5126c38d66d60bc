"""A control plane on a real Redis, with a Ray dashboard that isn't there: what it does without a cluster."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.keys import hash_of_key, new_key, new_key_id
from distill.contracts.settings import NodeSettings
from services.control_plane.main import create_app
from services.control_plane.reconciler import Reconciler
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from services.stack.processes import free_ports
from tests.keys import for_ever_async
from tests.services.control_plane.fakes import FakeRay, a_reconciler

ADMIN_KEY = new_key(new_key_id())
AUTHORIZED = {"Authorization": f"Bearer {ADMIN_KEY}"}
"""The operator's."""


@pytest.fixture
async def redis(own_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an emptied Redis that no stack uses; what a test leaves there is permanent by list, or ends by itself."""
    client: Redis = Redis.from_url(own_redis_url, decode_responses=True)
    await client.flushall()
    yield client
    assert await for_ever_async(client) == []
    await client.aclose()


@pytest.fixture
def store(redis: Redis) -> Store:
    """Records in that Redis."""
    return Store(redis)


@pytest.fixture
def ray() -> FakeRay:
    """A cluster of two CPUs."""
    return FakeRay()


@pytest.fixture
def reconciler(redis: Redis, ray: Any, tmp_path: Path) -> Reconciler:
    """The one that acts."""
    return a_reconciler(redis, ray, tmp_path)


@pytest.fixture
async def another_acts(redis: Redis) -> None:
    """Another control plane holds the lease: the house makes no rounds, and no record moves by itself."""
    await redis.set(names.RECONCILER_KEY, "another", ex=600)


@pytest.fixture
def settings(own_redis_url: str, tmp_path: Path) -> Settings:
    """A control plane whose Ray doesn't answer."""
    data_root = tmp_path / "data"
    data_root.mkdir()
    node = NodeSettings(redis_url=own_redis_url, storage=tmp_path, data_root=data_root, cache=tmp_path / "cache")
    return Settings(node=node, admin_key=hash_of_key(ADMIN_KEY), ray_dashboard=f"http://127.0.0.1:{free_ports(1)[0]}")


@pytest.fixture
async def house(redis: Redis, settings: Settings) -> AsyncIterator[FastAPI]:
    """The application, running in this process."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def api(house: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The operator's client of it."""
    headers = AUTHORIZED
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(house), base_url="http://stillhouse", headers=headers
    ) as client:
        yield client
