"""What every route works with, made once at start and found on the application's state."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from redis.asyncio import Redis

from services.control_plane.listing import Listing
from services.control_plane.once import HEADER, MAX_KEY, Asked, Once, digest_of_request
from services.control_plane.ray_rest import RayRest
from services.control_plane.reconciler import Reconciler
from services.control_plane.reservations import Reservations
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from services.control_plane.submit import Submission

TEAM = "default"
"""Whose everything is: the only team there is until there are API keys to tell teams by."""


@dataclass(frozen=True)
class Caller:
    """Who asks, as far as the request shows it."""

    team: str


@dataclass(frozen=True)
class Context:
    """The control plane's parts."""

    settings: Settings
    redis: Redis
    blocking_redis: Redis
    """For blocking reads: its sockets wait longer."""
    store: Store
    listing: Listing
    once: Once
    ray: RayRest
    reservations: Reservations
    reconciler: Reconciler

    async def submission(self, caller: Caller) -> Submission:
        """What checks and resolves a posted specification, against the cluster as it is now."""
        room = await self.reconciler.resources()
        node = self.settings.node
        return Submission(self.store, team=caller.team, data_root=node.data_root, storage=node.storage, room=room)


def get_context(request: Request) -> Context:
    """The context of the application that answers."""
    context: Context = request.app.state.context
    return context


async def get_caller() -> Caller:
    """Who asks."""
    return Caller(TEAM)


async def get_asked(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias=HEADER, min_length=1, max_length=MAX_KEY,
            description="Any text of your choice, a fresh one for each thing that is to be made. The same request with "
            "the same key makes nothing twice: for a day it gets the first answer again, with `Idempotent-Replayed: "
            "true`. Another request with the key gets 422; while the first is being answered, 409 with `Retry-After`.",
        ),
    ] = None,
) -> Asked:  # fmt: skip
    """What is asked, for routes that make something."""
    return Asked(key, digest_of_request(request.method, request.url.path, await request.body()))


Parts = Annotated[Context, Depends(get_context)]
Who = Annotated[Caller, Depends(get_caller)]
AskedOnce = Annotated[Asked, Depends(get_asked)]
