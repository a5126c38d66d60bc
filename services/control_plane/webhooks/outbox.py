"""What is still to be told: written in the step that ends a job or a study, struck out when it was told or given up.

Intent, do, confirm: a try is first put off by `CLAIM_S`, then made, then its outcome is written. A control plane that
dies in between leaves it to be made again, with the same id.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import NotFound
from distill.contracts.notify import Delivery
from services.control_plane.guarded import guarded
from services.control_plane.store import Store
from services.control_plane.webhooks.hosts import AllowedHosts
from services.control_plane.webhooks.messages import Message, of_job, of_study
from services.control_plane.webhooks.posting import TIMEOUT_S, NotTold, Resolve, Resolver, post
from services.control_plane.webhooks.signing import signed

log = logging.getLogger(__name__)

WAITS_S = (5, 60, 300, 1800, 7200, 18000, 36000)
"""After each failed try; 18 hours in all."""
CLAIM_S = 60.0
"""Longer than a try takes."""
MAX_AT_ONCE = 32
MAX_OF_HOST = 4
"""So a receiver that is slow keeps nobody waiting but itself."""
BUSY_S = 1.0
CANCEL_AGAIN_S = 0.2
KEPT_S = 30 * 86400
"""How it went can be read for so long."""


class Webhooks:
    """Tells what is due, beside everything else that the acting control plane does."""

    def __init__(
        self, store: Store, redis: Redis, allowed: AllowedHosts, secret: bytes, *,
        clock: Callable[[], datetime] = now, resolve: Resolve | None = None, timeout_s: float = TIMEOUT_S,
    ) -> None:  # fmt: skip
        """``secret`` is the operator's; names are looked up by ``resolve``, else by the system."""
        self._store = store
        self._redis = redis
        self._allowed = allowed
        self._secret = secret
        self._clock = clock
        self._resolver = Resolver(MAX_AT_ONCE)
        self._resolve = resolve or self._resolver
        self._timeout_s = timeout_s
        self._tasks: dict[str, asyncio.Task[bool]] = {}
        self._of_host: Counter[str] = Counter()

    async def tend(self) -> None:
        """Begin to tell what is due; returns at once."""
        self._tasks = {member: task for member, task in self._tasks.items() if not task.done()}
        due = await self._redis.zrangebyscore(
            names.WEBHOOKS_KEY, "-inf", self._clock().timestamp(), start=0, num=MAX_AT_ONCE
        )
        for member in map(str, due):
            if member not in self._tasks and len(self._tasks) < MAX_AT_ONCE:
                await self._put_off(member, CLAIM_S)
                self._tasks[member] = asyncio.create_task(guarded(f"the webhook of {member}", self._tell, member))

    async def settled(self) -> None:
        """Wait until every try that has begun is over."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def close(self) -> None:
        """Break off: what is cut short is told again."""
        while waiting := [task for task in self._tasks.values() if not task.done()]:
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)
        self._resolver.close()

    async def _tell(self, member: str) -> None:
        message = await self._message(member)
        if message is None:
            await self._redis.zrem(names.WEBHOOKS_KEY, member)
            return
        host = urlsplit(message.url).netloc
        if self._of_host[host] >= MAX_OF_HOST:
            await self._put_off(member, BUSY_S)
            return
        self._of_host[host] += 1
        try:
            await self._try(member, message, host)
        finally:
            self._of_host[host] -= 1

    async def _try(self, member: str, message: Message, host: str) -> None:
        at = self._clock()
        before = await read_delivery(self._redis, *_parts(member))
        tries = 1 + (before.tries if before else 0)
        headers = signed(self._secret, message.team, identity=message.id, at=at, body=message.body)
        delivery = Delivery(id=message.id, state="delivered", host=host, tries=tries, last_try_at=at)
        try:
            await post(
                message.url, message.body, headers, self._allowed, resolve=self._resolve, timeout_s=self._timeout_s
            )
        except NotTold as why:
            delivery = after_failure(delivery, why)
            log.warning("webhook %s to %s, try %d: %s; %s", message.id, host, tries, why, delivery.state)
        await self._confirm(member, delivery)

    async def _confirm(self, member: str, delivery: Delivery) -> None:
        async with self._redis.pipeline(transaction=True) as together:
            together.set(names.webhook_key(*_parts(member)), delivery.model_dump_json(), ex=KEPT_S)
            if delivery.next_try_at is None:
                together.zrem(names.WEBHOOKS_KEY, member)
            else:
                together.zadd(names.WEBHOOKS_KEY, {member: delivery.next_try_at.timestamp()}, xx=True)
            await together.execute()

    async def _put_off(self, member: str, seconds: float) -> None:
        await self._redis.zadd(names.WEBHOOKS_KEY, {member: self._clock().timestamp() + seconds}, xx=True)

    async def _message(self, member: str) -> Message | None:
        kind, identity = _parts(member)
        try:
            if kind == "job":
                return of_job(await self._store.job(identity))
            study = await self._store.study(identity)
            return of_study(study, await self._store.children(study))
        except NotFound:
            return None


def after_failure(delivery: Delivery, why: NotTold) -> Delivery:
    """What follows from a failed try: when the next one is, or that there is none."""
    may_again = delivery.tries <= len(WAITS_S) and not why.for_good
    wait = timedelta(seconds=WAITS_S[delivery.tries - 1]) if may_again else None
    return delivery.model_copy(
        update={
            "state": "given_up" if wait is None else "waiting",
            "problem": str(why),
            "next_try_at": None if wait is None else delivery.last_try_at + wait,
        }
    )


async def read_delivery(redis: Redis, kind: names.Kind, identity: str) -> Delivery | None:
    """How telling of its end goes; None if it hasn't begun."""
    stored = await redis.get(names.webhook_key(kind, identity))
    return None if stored is None else Delivery.model_validate_json(stored)


def _parts(member: str) -> tuple[names.Kind, str]:
    kind, _, identity = member.partition(":")
    return ("job" if kind == "job" else "study"), identity
