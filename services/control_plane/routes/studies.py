"""``/v1/studies``: a job and what it is compared with, as one."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from distill.contracts.errors import Conflict
from distill.contracts.records import JobRecord, JobState, StudyRecord, Wish
from distill.contracts.study import StudySpec
from services.control_plane import examples
from services.control_plane.context import Context, Parts, Who
from services.control_plane.problems import documented
from services.control_plane.reporting import REPORT_RESPONSES, report_of_study
from services.control_plane.routes.jobs import REPORT_FILES, Limit, ReportFormat, cancel_job, pause_job, resume_job
from services.control_plane.streams import follow, last_event_id
from services.control_plane.views import StudyPage, StudyView, study_state

router = APIRouter(prefix="/v1/studies", tags=["studies"])


async def existing_study(study: str, parts: Parts) -> str:
    """The study's identity, if there is one: checked before a stream begins."""
    return (await parts.store.study(study)).id


@router.post("", status_code=202, responses=documented(413))
async def submit(
    spec: Annotated[StudySpec, Body(openapi_examples=examples.STUDIES)], parts: Parts, who: Who, response: Response
) -> StudyView:
    """Queue a study: its jobs and the study itself are stored in one step, or not at all."""
    study, jobs = await (await parts.submission(who)).study(spec)
    await parts.store.create_jobs(jobs, study)
    parts.reconciler.wake()
    response.headers["Location"] = f"/v1/studies/{study.id}"
    return await _view(parts, study)


@router.get("", responses=documented())
async def list_studies(
    parts: Parts, limit: Limit = 50, cursor: Annotated[str | None, Query(max_length=200)] = None
) -> StudyPage:
    """Studies, newest first."""
    identities, following = await parts.store.page("study", limit=limit, cursor=cursor)
    studies = await parts.store.studies(identities)
    return StudyPage(items=[await _view(parts, study) for study in studies], next=following)


@router.get("/{study}", responses=documented(404))
async def read_study(study: str, parts: Parts) -> StudyView:
    """The study, its children, and its state."""
    return await _view(parts, await parts.store.study(study))


@router.post("/{study}/cancel", status_code=202, responses=documented(404))
async def cancel(study: str, parts: Parts) -> StudyView:
    """Cancel every child that hasn't ended; a baseline that is reused belongs to another study, and goes on."""
    record = await parts.store.study(study)
    for job in await _own(parts, record):
        await cancel_job(parts, job.id)
    return await _view(parts, record)


@router.post("/{study}/pause", status_code=202, responses=documented(404, 409))
async def pause(study: str, parts: Parts) -> StudyView:
    """Pause every child that is not about to end; a baseline that is reused belongs to another study, and goes on."""
    record = await parts.store.study(study)
    may_pause = [job for job in await _own(parts, record) if not job.state.is_final and job.wish is not Wish.CANCEL]
    if not may_pause:
        raise Conflict(f"every job of {study} has ended or is about to: there is nothing to pause")
    for job in may_pause:
        await pause_job(parts, job)
    return await _view(parts, record)


@router.post("/{study}/resume", status_code=202, responses=documented(404, 409))
async def resume(study: str, parts: Parts) -> StudyView:
    """Let every paused child go on."""
    record = await parts.store.study(study)
    own = await _own(parts, record)
    if pausing := [job.id for job in own if job.state is JobState.PAUSING]:
        raise Conflict(f"{', '.join(pausing)} still save what they have; resume the study once they are PAUSED")
    for job in own:
        if job.state is JobState.PAUSED:
            await resume_job(parts, job)
    return await _view(parts, record)


@router.get("/{study}/events", response_class=EventSourceResponse, responses=documented(404))
async def events(
    study: Annotated[str, Depends(existing_study)], parts: Parts, after: Annotated[str, Depends(last_event_id)]
) -> AsyncIterator[ServerSentEvent]:
    """The events of all children in one order; ends with ``end`` when the report is written."""
    async for event in follow(parts.store, parts.blocking_redis, "study", study, after=after):
        yield event


@router.get("/{study}/report", responses=documented(404, 409, 416) | REPORT_RESPONSES)
async def report(study: str, parts: Parts, report_format: ReportFormat = "json") -> Response:
    """What was gained and what it cost, as JSON or Markdown."""
    return await report_of_study(parts, study, REPORT_FILES[report_format])


@router.get("/{study}/report/{file}", responses=documented(404, 409, 416) | REPORT_RESPONSES)
async def report_part(study: str, file: str, parts: Parts) -> Response:
    """A file of the report: ``report.md`` or a plot."""
    return await report_of_study(parts, study, file)


async def _own(parts: Context, study: StudyRecord) -> list[JobRecord]:
    """Its children, without those of earlier studies that it reuses."""
    return [job for job in (await parts.store.children(study)).values() if job.study == study.id]


async def _view(parts: Context, study: StudyRecord) -> StudyView:
    children = await parts.store.children(study)
    return StudyView(study=study, state=study_state(children), children=children)
