"""``/v1/usage``: what a team had of the pool in a month."""

from typing import Annotated

from fastapi import APIRouter, Query

from distill.contracts.base import now
from distill.contracts.pool import TeamUsage
from services.control_plane.access import guarded_by
from services.control_plane.context import Parts, Who
from services.control_plane.measured import read_usage
from services.control_plane.problems import documented

router = APIRouter(prefix="/v1/usage", tags=["usage"], dependencies=guarded_by(reads="read", changes="admin"))


@router.get("", responses=documented())
async def usage(
    parts: Parts,
    who: Who,
    month: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="Such as `2026-11`; left out: now, in UTC."),
    ] = None,
) -> TeamUsage:
    """Rows computed and recalled, seconds on devices, and refusals, by teacher. Replicas add to it each second."""
    return await read_usage(parts.redis, who.team, month or f"{now():%Y-%m}")
