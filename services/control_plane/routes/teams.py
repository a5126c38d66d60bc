"""``/v1/teams``: what an operator grants each team, and what it has of that now."""

from typing import Annotated

from fastapi import APIRouter, Body

from distill.contracts.base import Name
from distill.contracts.errors import NotFound
from distill.contracts.records import JobRecord
from distill.contracts.teams import TeamRecord, TeamSpec
from services.control_plane import examples
from services.control_plane.access import guarded_by
from services.control_plane.context import Context, Parts, Who
from services.control_plane.problems import documented
from services.control_plane.teams import Teams
from services.control_plane.views import TeamList, TeamView

router = APIRouter(prefix="/v1/teams", tags=["teams"], dependencies=guarded_by(reads="read", changes="admin"))


@router.get("", responses=documented())
async def list_teams(parts: Parts, who: Who) -> TeamList:
    """The team that asks; for an admin also every other that is granted something, or has jobs that have not ended."""
    teams, jobs = Teams(parts.redis), await _living(parts)
    granted = await teams.all()
    others = granted.keys() | {job.team for job in jobs} if who.may("admin") else set()
    views = [
        TeamView(team=granted.get(one) or TeamRecord(name=one), has=await teams.holding(one, jobs))
        for one in sorted(others | {who.team})
    ]
    return TeamList(items=views)


@router.get("/{name}", responses=documented(404))
async def read_team(name: Name, parts: Parts, who: Who) -> TeamView:
    """One team; the defaults where nobody has granted anything: weight 1, and no quota. Others than one's own: admin."""
    if name != who.team and not who.may("admin"):
        raise NotFound(f"there is no team named {name!r} that this key may see", got=name)
    teams = Teams(parts.redis)
    return TeamView(team=await teams.read(name), has=await teams.holding(name, await _living(parts)))


@router.put("/{name}", responses=documented(413))
async def grant(
    name: Name, granted: Annotated[TeamSpec, Body(openapi_examples=examples.TEAMS)], parts: Parts
) -> TeamRecord:
    """Set a team's weight and quotas, all of them: one that is left out is no bound.

    What runs goes on, also where it is more than is granted now.
    """
    record = await Teams(parts.redis).grant(name, granted)
    parts.reconciler.wake()
    return record


async def _living(parts: Context) -> list[JobRecord]:
    return await parts.store.jobs(await parts.store.active("job"))
