"""The control plane's application: REST in front, applier and reconciler behind. Imports neither torch nor ray."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from services.control_plane import problems
from services.control_plane.context import Context
from services.control_plane.guarded import guarded
from services.control_plane.limits import BodyLimit
from services.control_plane.rate import Rates, spend
from services.control_plane.ray_rest import RayRest
from services.control_plane.reconciler import Reconciler
from services.control_plane.reservations import Reservations
from services.control_plane.routes import health, jobs, reservations, studies, teachers, usage
from services.control_plane.settings import Settings
from services.control_plane.store import Store, read_streams

log = logging.getLogger(__name__)

DESCRIPTION = """A distillation service: a shared pool of teacher ensembles teaches small students.

Submit a study, follow its events, fetch the student and an honest report. Every error is an RFC 9457 problem document.
"""
WAKE_BLOCK_MS = 2000
RETRY_S = 1.0
CANCEL_AGAIN_S = 0.2
KINDS: dict[str, names.Kind] = {"job": "job", "study": "study", "teacher": "teacher"}


def create_app(settings: Settings) -> FastAPI:
    """The application; its background work begins and ends with its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running(settings) as context:
            app.state.context = context
            yield

    app = FastAPI(
        title="Stillhouse",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    app.add_middleware(
        BodyLimit, max_bytes=settings.max_body_bytes, max_held_bytes=settings.max_held_bytes, read_s=settings.body_s
    )
    problems.install(app)
    app.state.rates = Rates(rate=settings.requests_per_s, burst=settings.requests_at_once)
    for router in (jobs.router, studies.router, teachers.router, reservations.router, usage.router):
        app.include_router(router, dependencies=[Depends(spend)])
    app.include_router(health.router)
    return app


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Context]:
    url = settings.node.redis_url
    redis = Redis.from_url(url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2)
    blocking = Redis.from_url(url, decode_responses=True, socket_timeout=30, socket_connect_timeout=2)
    store = Store(redis)
    await store.check_schema()
    ray = RayRest(settings.ray_dashboard, settings.ray_token_path)
    reserved = Reservations(redis, door=settings.door)
    reconciler = Reconciler(
        store, redis, ray, reserved,
        storage=settings.node.storage, teacher_idle_s=settings.teacher_idle_s, door_port=settings.door_port,
    )  # fmt: skip
    context = Context(
        settings=settings, redis=redis, blocking_redis=blocking, store=store, ray=ray, reservations=reserved,
        reconciler=reconciler,
    )  # fmt: skip
    tasks = [asyncio.create_task(reconciler.run()), asyncio.create_task(_apply_for_ever(store, blocking, reconciler))]
    try:
        yield context
    finally:
        await _end(tasks)
        with contextlib.suppress(RedisError, OSError):  # its lease expires by itself
            await reconciler.give_up_lease()
        await ray.close()
        await redis.aclose()
        await blocking.aclose()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until it is heard: on Python 3.11 redis-py's `wait_for` swallows a cancellation that meets a reply."""
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)


async def _apply_for_ever(store: Store, blocking: Redis, reconciler: Reconciler) -> None:
    """Apply facts as workers append them; the reconciler's rounds catch what this misses."""
    cursor = "$"

    async def apply_next() -> None:
        nonlocal cursor
        entries = await read_streams(blocking, {names.WAKE_KEY: cursor}, block_ms=WAKE_BLOCK_MS)
        cursor = entries[-1][1] if entries else cursor
        for kind, identity in sorted({(fields["kind"], fields["id"]) for _, _, fields in entries}):
            await guarded(f"{kind} {identity}", _apply, store, reconciler, KINDS[kind], identity)

    while True:
        if not await guarded("reading what workers said", apply_next):
            await asyncio.sleep(RETRY_S)


async def _apply(store: Store, reconciler: Reconciler, kind: names.Kind, identity: str) -> None:
    if await store.apply_pending(kind, identity):
        reconciler.wake()
