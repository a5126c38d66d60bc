"""The control plane's application: REST in front, applier and reconciler behind. Imports neither torch nor ray."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from fastapi import APIRouter, Depends, FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.routing import BaseRoute

from distill.contracts import names
from distill.contracts.audit import ServiceDid
from distill.contracts.base import now
from distill.journal.keys import KnownKeys
from services.control_plane import problems
from services.control_plane.audit.log import AuditLog
from services.control_plane.audit.requests import Audited, ask
from services.control_plane.authentication import Authentication
from services.control_plane.collecting import Collector
from services.control_plane.connections import open_redis
from services.control_plane.context import TEAM, Context
from services.control_plane.following import Slots
from services.control_plane.guarded import guarded
from services.control_plane.hub import Hub
from services.control_plane.keys import Keys
from services.control_plane.limits import BodyLimit
from services.control_plane.listing import Listing
from services.control_plane.once import Once
from services.control_plane.queries import known_queries
from services.control_plane.rate import Rates, spend
from services.control_plane.ray_rest import RayRest
from services.control_plane.reconciler import Reconciler
from services.control_plane.reservations import Reservations
from services.control_plane.routes import (
    audit,
    garbage,
    health,
    jobs,
    keys,
    plans,
    reservations,
    studies,
    teachers,
    teams,
    usage,
)
from services.control_plane.settings import Settings
from services.control_plane.store import Store, read_streams
from services.control_plane.webhooks.outbox import Webhooks
from services.control_plane.webhooks.signing import read_secret

log = logging.getLogger(__name__)

DESCRIPTION = """A distillation service: a shared pool of teacher ensembles teaches small students.

Submit a study, follow its events, fetch the student and an honest report. Every error is an RFC 9457 problem document.

Every route but those of health needs an API key: `Authorization: Bearer sth_...`. GET needs the scope `read`, changes need
`submit`; of teachers `publish`; of keys all need `admin`. What is another team's is not found.
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
            app.state.keys = KnownKeys(context.redis)
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
    app.add_middleware(Audited)
    app.add_middleware(Authentication)  # the last that is added is the first that is asked
    problems.install(app)
    app.state.looked = health.Looked()
    app.state.rates = Rates(rate=settings.requests_per_s, burst=settings.requests_at_once)
    app.router.routes.extend(_routes())
    return app


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Every route: FastAPI takes a third of a second to work them out, which is once a process, and not once an application."""
    everything = APIRouter()
    everything.include_router(health.router)
    for router in (
        jobs.router, studies.router, plans.router, teachers.router, reservations.router, usage.router, usage.of_all,
        teams.router, keys.router, garbage.router, audit.router, audit.verifying,
    ):  # fmt: skip
        everything.include_router(
            router,
            responses=problems.documented(401, 403),
            dependencies=[Depends(spend), Depends(ask), Depends(known_queries)],
        )
    return tuple(everything.routes)


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Context]:
    url = settings.node.redis_url
    redis, blocking = open_redis(url), open_redis(url, socket_timeout_s=30)
    store = Store(redis)
    await store.check_schema()
    listing = Listing(store, redis)
    await listing.make_lists()
    audited = AuditLog(redis, settings.node.storage)
    await audited.take_up()
    keys = Keys(redis)
    await _let_operator_in(settings, keys, audited)
    ray = RayRest(settings.ray_dashboard, settings.ray_token_path)
    reserved = Reservations(redis, door=settings.door)
    webhooks = _webhooks(settings, store, redis)
    reconciler = Reconciler(
        store, redis, ray, reserved,
        storage=settings.node.storage, teacher_idle_s=settings.teacher_idle_s, door_port=settings.door_port,
        webhooks=webhooks,
    )  # fmt: skip
    collector = Collector(store, redis, reserved, storage=settings.node.storage, policy=settings.keep)
    context = Context(
        settings=settings, redis=redis, blocking_redis=blocking, store=store, keys=keys, listing=listing,
        once=Once(redis), ray=ray, reservations=reserved, reconciler=reconciler, collector=collector, hub=Hub(blocking),
        audit=audited, slots=Slots(of_all=settings.max_streams, of_team=settings.max_team_streams),
    )  # fmt: skip
    tasks = [asyncio.create_task(reconciler.run()), asyncio.create_task(_apply_for_ever(store, blocking, reconciler))]
    tasks.append(asyncio.create_task(reconciler.run_tidying()))
    tasks.append(asyncio.create_task(collector.run(reconciler.acts)))
    try:
        yield context
    finally:
        await _end(tasks)
        await context.hub.close()
        if webhooks is not None:
            await webhooks.close()
        with contextlib.suppress(RedisError, OSError):  # its lease expires by itself
            await reconciler.give_up_lease()
        await ray.close()
        await redis.aclose()
        await blocking.aclose()


def _webhooks(settings: Settings, store: Store, redis: Redis) -> Webhooks | None:
    if settings.webhook_secret_path is None:
        return None
    return Webhooks(store, redis, settings.webhook_hosts, read_secret(settings.webhook_secret_path))


async def _let_operator_in(settings: Settings, keys: Keys, audited: AuditLog) -> None:
    first = settings.admin_key
    if first is None:
        return
    if not await keys.knows(first.id):
        details: dict[str, str | int] = {"key": first.id, "team": TEAM}
        await audited.append(ServiceDid(at=now(), what="operator_key", details=details))
    await keys.enter_first(first, team=TEAM)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until it is heard: on Python 3.11 redis-py's `wait_for` swallows a cancellation that meets a reply."""
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)


async def _apply_for_ever(store: Store, blocking: Redis, reconciler: Reconciler) -> None:
    """Apply facts as workers append them, and what they said while no control plane was there.

    The reconciler's rounds catch what this misses of jobs that live. Nobody else looks at those that have ended: so what
    is cut short is tried again.
    """
    cursor = "0-0"
    waiting: set[tuple[str, str]] = set()

    async def apply_next() -> None:
        nonlocal cursor, waiting
        entries = await read_streams(blocking, {names.WAKE_KEY: cursor}, block_ms=WAKE_BLOCK_MS)
        cursor = entries[-1][1] if entries else cursor
        waiting |= {(fields["kind"], fields["id"]) for _, _, fields in entries}
        for kind, identity in sorted(waiting):
            if await guarded(f"{kind} {identity}", _apply, store, reconciler, KINDS[kind], identity):
                waiting.remove((kind, identity))

    while True:
        if not await guarded("reading what workers said", apply_next):
            await asyncio.sleep(RETRY_S)


async def _apply(store: Store, reconciler: Reconciler, kind: names.Kind, identity: str) -> None:
    if await store.apply_pending(kind, identity):
        reconciler.wake()
