"""``/v1/usage``: what teams had in a month: of the pool, of the cluster, and of the storage."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from distill.contracts.base import now
from distill.contracts.pool import TeamUsage
from services.control_plane.access import guarded_by
from services.control_plane.context import Parts, Who
from services.control_plane.measured import read_usage, teams_on_storage
from services.control_plane.problems import documented
from services.control_plane.teams import Teams
from services.control_plane.views import TeamUsageList

router = APIRouter(prefix="/v1/usage", tags=["usage"], dependencies=guarded_by(reads="read", changes="admin"))
of_all = APIRouter(prefix="/v1/usage", tags=["usage"], dependencies=guarded_by(reads="admin", changes="admin"))


async def get_month(
    month: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="Such as `2026-11`; left out: now, in UTC."),
    ] = None,
) -> str:
    """The month that is asked for."""
    return month or f"{now():%Y-%m}"


Month = Annotated[str, Depends(get_month)]


@router.get("", responses=documented())
async def usage(parts: Parts, who: Who, month: Month) -> TeamUsage:
    """What the team had in a month.

    Of each teacher rows computed and recalled, seconds on devices, and refusals: replicas add to it each second. Of the
    cluster what attempts held that have ended. Of the storage its bytes, as measured once an hour.
    """
    (found,) = await read_usage(parts.redis, [who.team], month)
    return found


@of_all.get("/teams", responses=documented())
async def usage_of_all(parts: Parts, who: Who, month: Month) -> TeamUsageList:
    """The same of every team that has a key, or had one; that is granted something; or that has jobs, or had any on storage."""
    known = {who.team, *await Teams(parts.redis).all(), *await teams_on_storage(parts.redis, month)}
    known |= {key.team for key in await parts.keys.all()}
    known |= {job.team for job in await parts.store.jobs(await parts.store.active("job"))}
    return TeamUsageList(items=await read_usage(parts.redis, sorted(known), month))
