"""What every route works with, made once at start and found on the application's state."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from redis.asyncio import Redis

from services.control_plane.collecting import Collector
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
    ray: RayRest
    reservations: Reservations
    reconciler: Reconciler
    collector: Collector

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


Parts = Annotated[Context, Depends(get_context)]
Who = Annotated[Caller, Depends(get_caller)]
