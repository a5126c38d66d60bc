"""``/v1/teams``: what an operator grants each team, and what it has of that now."""

from typing import Annotated

from fastapi import APIRouter, Body

from distill.contracts.base import Name
from distill.contracts.records import JobRecord
from distill.contracts.teams import TeamRecord, TeamSpec
from services.control_plane import examples
from services.control_plane.context import Context, Parts, Who
from services.control_plane.problems import documented
from services.control_plane.teams import Teams
from services.control_plane.views import TeamList, TeamView

router = APIRouter(prefix="/v1/teams", tags=["teams"])


@router.get("", responses=documented())
async def list_teams(parts: Parts, who: Who) -> TeamList:
    """Every team that is granted something, or has jobs that have not ended; and the one that asks."""
    teams, jobs = Teams(parts.redis), await _living(parts)
    granted = await teams.all()
    known = sorted(granted.keys() | {job.team for job in jobs} | {who.team})
    views = [
        TeamView(team=granted.get(one) or TeamRecord(name=one), has=await teams.holding(one, jobs)) for one in known
    ]
    return TeamList(items=views)


@router.get("/{team}", responses=documented())
async def read_team(team: Name, parts: Parts, who: Who) -> TeamView:
    """One team; the defaults where nobody has granted anything: weight 1, and no quota."""
    teams = Teams(parts.redis)
    return TeamView(team=await teams.read(team), has=await teams.holding(team, await _living(parts)))


@router.put("/{team}", responses=documented(413))
async def grant(
    team: Name, granted: Annotated[TeamSpec, Body(openapi_examples=examples.TEAMS)], parts: Parts, who: Who
) -> TeamRecord:
    """Set a team's weight and quotas, all of them: one that is left out is no bound.

    What runs goes on, also where it is more than is granted now.
    """
    record = await Teams(parts.redis).grant(team, granted)
    parts.reconciler.wake()
    return record


async def _living(parts: Context) -> list[JobRecord]:
    return await parts.store.jobs(await parts.store.active("job"))
