"""A control plane on a real Redis, a second database of that Redis for what comes after, and a storage for each."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.keys import for_ever_async
from tests.services.control_plane.conftest import api, house, redis, settings, store  # noqa: F401 - fixtures


@pytest.fixture
def new_url(own_redis_url: str) -> str:
    """Of another database."""
    return own_redis_url.removesuffix("/0") + "/1"


@pytest.fixture
async def new_redis(redis: Redis, new_url: str) -> AsyncIterator[Redis]:  # noqa: F811 - the fixture
    """A client of that database, which is empty."""
    client: Redis = Redis.from_url(new_url, decode_responses=True)
    yield client
    assert await for_ever_async(client) == []
    await client.aclose()


@pytest.fixture
def new_storage(tmp_path: Path) -> Path:
    """A storage that has nothing yet."""
    folder = tmp_path / "new-storage"
    folder.mkdir()
    return folder
