"""What every route works with, made once at start and found on the application's state."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import HTTPBearer
from redis.asyncio import Redis

from distill.contracts.base import Name
from distill.contracts.errors import Forbidden
from distill.contracts.keys import KeyRecord, Scope
from services.control_plane.audit.log import AuditLog
from services.control_plane.collecting import Collector
from services.control_plane.following import Slots
from services.control_plane.hub import Hub
from services.control_plane.keys import Keys
from services.control_plane.listing import Listing
from services.control_plane.once import HEADER, MAX_KEY, Asked, Once, digest_of_request
from services.control_plane.ray_rest import RayRest
from services.control_plane.reconciler import Reconciler
from services.control_plane.reservations import Reservations
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from services.control_plane.submit import Submission

TEAM = "default"
"""The operator's own."""

BEARER = HTTPBearer(auto_error=False, description="An API key, such as `sth_...`: see docs/security.md.")
"""For the OpenAPI document alone: `authentication` has checked the key before any route is looked for."""


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    team: str
    """In whose name."""
    key: str
    """Id of the API key."""
    scopes: tuple[Scope, ...]

    def may(self, scope: Scope) -> bool:
        """Whether the key allows what needs this scope."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True)
class Context:
    """The control plane's parts."""

    settings: Settings
    redis: Redis
    blocking_redis: Redis
    """For blocking reads: its sockets wait longer."""
    store: Store
    keys: Keys
    listing: Listing
    once: Once
    ray: RayRest
    reservations: Reservations
    reconciler: Reconciler
    hub: Hub
    slots: Slots
    collector: Collector
    audit: AuditLog

    async def submission(self, caller: Caller) -> Submission:
        """What checks and resolves a posted specification, against the cluster as it is now."""
        room = await self.reconciler.resources()
        node = self.settings.node
        return Submission(
            self.store, team=caller.team, data_root=node.data_root, storage=node.storage, room=room,
            told=self.settings.webhook_hosts,
        )  # fmt: skip


def get_context(request: Request) -> Context:
    """The context of the application that answers."""
    context: Context = request.app.state.context
    return context


async def get_caller(
    request: Request,
    _: Annotated[object, Security(BEARER)],
    team: Annotated[Name | None, Query(description="In whose name; left out: the key's team. Others: admin.")] = None,
) -> Caller:
    """Who asks: the key's team, or the one that an admin names.

    Raises:
        Forbidden: somebody else names another team.
    """
    key: KeyRecord = request.state.key
    if team not in {None, key.team} and not key.may("admin"):
        raise Forbidden(f"only an admin key may act for team {team}", field="team", got=team, expected=key.team)
    return Caller(team or key.team, key.id, key.scopes)


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
