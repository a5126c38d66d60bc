"""What every route of the application answers to every kind of caller: the access matrix, made by asking."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from distill.contracts.base import now
from distill.contracts.keys import KeyRotation, KeySpec, Scope, new_key, new_key_id
from distill.contracts.pool import Reservation
from services.control_plane.access import Guard
from services.control_plane.context import Context
from tests.services.control_plane.records import JOB, WISE, a_teacher

Route = tuple[str, str]
"""Method and path, such as ``GET /v1/jobs/{job}``."""
NOT_ADMIN: tuple[Scope, ...] = ("read", "submit", "publish")
MISSING = {"job": "gone-abc234", "study": "gone-abc234", "reservation": "gone-1", "teacher": "gone", "key": "gone"}
"""What nobody has."""


def routes(app: FastAPI) -> dict[Route, Scope | None]:
    """Every route of the application, those of the documentation too, with the scope that it says it needs."""
    return {
        (method, str(route.path)): _scope(method, route)
        for route in iter_route_contexts(app.routes)
        for method in sorted(route.methods or ())
    }


def _scope(method: str, route: RouteContext) -> Scope | None:
    guards = [one.dependency for one in getattr(route, "dependencies", None) or () if isinstance(one.dependency, Guard)]
    return guards[0].scope_of(method) if guards else None


@asynccontextmanager
async def client_of(app: FastAPI, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who shows this key."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://stillhouse", headers=headers
    ) as client:
        yield client


class Matrix:
    """Things of the team ``default``, keys of every kind, and the answers."""

    def __init__(self, app: FastAPI, admin: httpx.AsyncClient) -> None:
        self._app = app
        self._admin = admin
        self._parts: Context = app.state.context
        self.own: dict[str, str] = {}
        """Part of a path -> what of ours it may name."""
        self.keys: dict[str, str | None] = {}
        """Kind of caller -> what it shows."""

    async def prepare(self) -> None:
        """Make one of each thing, the teacher hidden from others, and a key of every kind."""
        hidden = a_teacher(visibility="team")
        await self._parts.store.create_teacher(hidden)
        job = (await self._admin.post("/v1/jobs", json=JOB)).json()["id"]
        study = (await self._admin.post("/v1/studies", json={"name": "s", "job": JOB})).json()["study"]["id"]
        reservation: Reservation = await self._parts.reservations.create(WISE, team="default", rows_per_s=1)
        spare = await self._parts.keys.create(KeySpec(name="spare"), team="default")
        self.own = {
            "job": job, "study": study, "reservation": reservation.id, "teacher": hidden.name, "key": spare.record.id,
            "name": "student.pt2", "file": "report.md", "version": "1", "alias": "prod",
        }  # fmt: skip
        good = await self.key(*NOT_ADMIN)
        revoked = await self._parts.keys.create(KeySpec(name="r", scopes=("admin",)), team="default")
        await self._parts.keys.revoke(revoked.record.id)
        rotated = await self._parts.keys.create(KeySpec(name="o", scopes=("admin",)), team="default")
        await self._parts.keys.rotate(rotated.record.id, KeyRotation(overlap_s=0))
        self.keys = {
            "no key": None,
            "no key of ours": "token",
            "bad checksum": good[:-1] + ("1" if good[-1] == "0" else "0"),
            "unknown": new_key(new_key_id()),
            "expired": await self._expired(),
            "revoked": revoked.key,
            "rotated away": rotated.key,
        }

    async def key(self, *scopes: Scope, team: str = "default") -> str:
        """A new one."""
        return (await self._parts.keys.create(KeySpec(name="k", scopes=scopes), team=team)).key

    async def ask(
        self, route: Route, key: str | None, *, names: dict[str, str] | None = None, **query: str
    ) -> httpx.Response:
        """What is answered there."""
        method, path = route
        for part, name in (self.own | (names or {})).items():
            path = path.replace(f"{{{part}}}", name)
        async with client_of(self._app, key) as client:
            return await client.request(method, path, params=query, json=None if method == "GET" else {})

    async def _expired(self) -> str:
        made = await self._parts.keys.create(
            KeySpec(name="e", scopes=("admin",), expires_at=now() + timedelta(milliseconds=20)), team="default"
        )
        # it is over when the check says so: nothing here waits for a time
        async with client_of(self._app, made.key) as client:
            while (await client.get("/v1/keys")).status_code == httpx.codes.OK:
                pass
        return made.key


def named(route: Route) -> set[str]:
    """The things that belong to somebody in its path."""
    return {part for part in MISSING if f"{{{part}}}" in route[1]}


def told(answer: httpx.Response, names: dict[str, str]) -> Any:
    """The whole answer, but for the names that were asked."""
    text = answer.text
    for name in names.values():
        text = text.replace(name, "*")
    return answer.status_code, answer.headers["content-type"], text
