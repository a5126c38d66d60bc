"""``/v1/usage``: what a team had of the pool in a month."""

from typing import Annotated

from fastapi import APIRouter, Query

from distill.contracts.base import Name, now
from distill.contracts.pool import TeamUsage
from services.control_plane.context import TEAM, Parts
from services.control_plane.measured import read_usage
from services.control_plane.problems import documented

router = APIRouter(prefix="/v1/usage", tags=["usage"])


@router.get("", responses=documented())
async def usage(
    parts: Parts,
    month: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="Such as `2026-11`; left out: now, in UTC."),
    ] = None,
    team: Annotated[Name, Query(description="Anybody may ask for any, until there are API keys.")] = TEAM,
) -> TeamUsage:
    """Rows computed and recalled, seconds on devices, and refusals, by teacher. Replicas add to it each second."""
    return await read_usage(parts.redis, team, month or f"{now():%Y-%m}")
