"""``/healthz`` and ``/readyz``: is it alive, and can it do its work.

Both are open. Who shows no key learns which dependency is down, and nothing of where it is or how it is set.
"""

import asyncio
import os
import time

from fastapi import APIRouter, Request, Response
from redis.exceptions import RedisError

from distill.contracts.errors import DependencyDown, StillhouseError
from distill.contracts.keys import key_of_header
from distill.journal.keys import KnownKeys
from distill.journal.redis_words import what_is_wrong
from services.control_plane.context import Context, Parts
from services.control_plane.deployment import PROXY_LOCATION
from services.control_plane.ray_rest import Proxy
from services.control_plane.views import Health, Readiness

router = APIRouter(tags=["health"])

PATIENCE_S = 2.0
FRESH_S = 1.0
"""However many ask, Redis, Ray and the storage are asked once in so long."""
IN_SHORT = {"ray": "doesn't answer as it should", "storage": "can't be read and written"}
SAFE_REDIS = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get(
    "/readyz", responses={503: {"model": Readiness, "description": "A dependency doesn't answer; it is named."}}
)
async def readyz(request: Request, parts: Parts, response: Response) -> Readiness:
    """Redis, Ray and the storage answer.

    With an API key it also says where and how they don't, and warns where Redis may lose what it confirmed, and where the
    pool has no door. While Redis is silent no key can be checked.
    """
    looked: Looked = request.app.state.looked
    found = await looked.at(parts)
    response.status_code = 200 if found.ready else 503
    return found if await _shows_key(request) else in_short(found)


class Looked:
    """What was found when somebody last asked, for as long as it is fresh."""

    def __init__(self) -> None:
        self._asking = asyncio.Lock()
        self._found: tuple[float, Readiness] | None = None

    async def at(self, parts: Context) -> Readiness:
        """Whether the control plane can do its work."""
        async with self._asking:
            if self._found is None or time.monotonic() - self._found[0] > FRESH_S:
                found = await _look(parts)
                self._found = time.monotonic(), found
            return self._found[1]


def in_short(found: Readiness) -> Readiness:
    """What anybody may know of it."""
    words = found.dependencies
    # what follows the colon tells where Redis is
    short = {name: IN_SHORT.get(name, word.partition(":")[0]) for name, word in words.items() if word != "ok"}
    return Readiness(ready=found.ready, dependencies=words | short)


async def _look(parts: Context) -> Readiness:
    redis, ray, storage = await asyncio.gather(_redis(parts), _ray(parts), _storage(parts))
    dependencies = {"redis": redis, "ray": ray, "storage": storage}
    warnings = await _durability(parts) if redis == "ok" else []
    warnings += await _door(parts) if ray == "ok" else []
    ready = all(word == "ok" for word in dependencies.values())
    return Readiness(ready=ready, dependencies=dependencies, warnings=warnings)


async def _shows_key(request: Request) -> bool:
    keys: KnownKeys = request.app.state.keys
    try:
        await keys.check(key_of_header(request.headers.get("authorization")))
    except StillhouseError:
        return False
    return True


async def _redis(parts: Context) -> str:
    """A write, since a Redis that only reads keeps nothing; a slow one has as long as a person would wait."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await what_is_wrong(parts.redis) or "ok"
    except TimeoutError:
        return f"is slow: it didn't answer within {PATIENCE_S:g} s"


async def _ray(parts: Context) -> str:
    try:
        await parts.ray.ping()
    except DependencyDown as error:
        return error.message
    return "ok"


async def _storage(parts: Context) -> str:
    storage = parts.settings.node.storage
    usable = await asyncio.to_thread(os.access, storage, os.R_OK | os.W_OK | os.X_OK)
    return "ok" if usable else f"{storage} can't be read and written"


async def _durability(parts: Context) -> list[str]:
    try:
        found = await parts.redis.config_get(*SAFE_REDIS)
    except RedisError:
        return ["this Redis doesn't show its settings: whether it may lose what it confirmed is not known"]
    return [
        f"Redis has {name} {found.get(name)}; with less than {wanted} it can lose what it confirmed"
        for name, wanted in SAFE_REDIS.items()
        if found.get(name) != wanted
    ]


async def _door(parts: Context) -> list[str]:
    try:
        proxy = await parts.ray.proxy()
    except DependencyDown as error:
        return [f"whether the pool's HTTP door is there is not known: {error.message}"]
    return warn_of_door(proxy, port=parts.settings.door_port)


def warn_of_door(proxy: Proxy | None, *, port: int) -> list[str]:
    """What is wrong with Serve's proxy, which can't be changed while Serve runs."""
    if proxy is None or proxy == Proxy(location=PROXY_LOCATION, port=port):
        return []
    return [
        f"Serve was first started with proxy_location {proxy.location} and port {proxy.port}, and the pool's HTTP door "
        f"needs {PROXY_LOCATION} and port {port}: nobody can ask it there until Ray, or Serve, is started again"
    ]
