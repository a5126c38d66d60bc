"""``/healthz`` and ``/readyz``: is it alive, and can it do its work."""

import asyncio
import os

from fastapi import APIRouter, Response
from redis.exceptions import RedisError

from distill.contracts.errors import DependencyDown
from distill.journal.redis_words import what_is_wrong
from services.control_plane.context import Context, Parts
from services.control_plane.deployment import PROXY_LOCATION
from services.control_plane.ray_rest import Proxy
from services.control_plane.views import Health, Readiness

router = APIRouter(tags=["health"])

PATIENCE_S = 2.0
SAFE_REDIS = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get(
    "/readyz", responses={503: {"model": Readiness, "description": "A dependency doesn't answer; it is named."}}
)
async def readyz(parts: Parts, response: Response) -> Readiness:
    """Redis, Ray and the storage answer. Warns where Redis may lose what it confirmed, and where the pool has no door."""
    redis, ray, storage = await asyncio.gather(_redis(parts), _ray(parts), _storage(parts))
    dependencies = {"redis": redis, "ray": ray, "storage": storage}
    ready = all(word == "ok" for word in dependencies.values())
    response.status_code = 200 if ready else 503
    warnings = await _durability(parts) if redis == "ok" else []
    warnings += await _door(parts) if ray == "ok" else []
    return Readiness(ready=ready, dependencies=dependencies, warnings=warnings)


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
