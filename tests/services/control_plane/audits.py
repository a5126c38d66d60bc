"""Logs for tests of the audit log: written as the service does, and changed as it never would."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.audit import ServiceDid
from services.control_plane.audit.log import AuditLog

Stream = list[tuple[str, dict[str, str]]]


async def entries(api: httpx.AsyncClient, **query: str | int) -> list[dict[str, Any]]:
    """All entries, newest first, page by page."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await api.get("/v1/audit", params=query | cursor)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


async def verdict(api: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await api.get("/v1/audit/verify", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def write(log: AuditLog, count: int, at: datetime) -> None:
    """So many entries of that moment."""
    for number in range(count):
        await log.append(ServiceDid(at=at, what="nothing", details={"number": number}))


async def rewrite(redis: Redis, change: Callable[[Stream], Stream]) -> None:
    """Put what ``change`` makes of the stream into its place, as somebody who owns Redis can."""
    found: Any = await redis.xrange(names.AUDIT_KEY)
    await redis.delete(names.AUDIT_KEY)
    for identity, fields in change(found):
        await redis.xadd(names.AUDIT_KEY, dict(fields), id=identity)  # type: ignore[arg-type]  # str is a field's type
