"""``/v1/jobs/plan`` and ``/v1/studies/plan``: a dry run. The verdict is a submit's; nothing is stored, and nothing starts."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Body

from distill.contracts.job import JobSpec
from distill.contracts.records import JobRecord
from distill.contracts.study import StudySpec
from services.control_plane import examples
from services.control_plane.access import guarded_by
from services.control_plane.context import Caller, Context, Parts, Who
from services.control_plane.planning import foretell
from services.control_plane.plans import Plan
from services.control_plane.problems import documented
from services.control_plane.store import reused_by

router = APIRouter(prefix="/v1", tags=["jobs", "studies"], dependencies=guarded_by(reads="read", changes="submit"))


@router.post("/jobs/plan", responses=documented(409, 413))
async def plan_job(spec: Annotated[JobSpec, Body(openapi_examples=examples.JOBS)], parts: Parts, who: Who) -> Plan:
    """What would become of a job: refused as its submit would be, or what it takes, its place in the queue, its quotas."""
    job = await (await parts.submission(who)).job(spec)
    return await _plan(parts, who, [job], reused={})


@router.post("/studies/plan", responses=documented(409, 413))
async def plan_study(
    spec: Annotated[StudySpec, Body(openapi_examples=examples.STUDIES)], parts: Parts, who: Who
) -> Plan:
    """What would become of a study's jobs; of those that an earlier study has trained, only which they are."""
    study, jobs = await (await parts.submission(who)).study(spec)
    return await _plan(parts, who, jobs, reused=reused_by(study, jobs))


async def _plan(parts: Context, who: Caller, new: Sequence[JobRecord], *, reused: Mapping[str, str]) -> Plan:
    return await foretell(new, parts.store, parts.reconciler, reused=reused, team=who.team)
