"""``/v1/studies``: a job and what it is compared with, as one."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response

from distill.contracts.errors import Conflict
from distill.contracts.notify import Delivery
from distill.contracts.records import JobRecord, JobState, StudyRecord, Wish
from distill.contracts.study import StudySpec
from services.control_plane import examples
from services.control_plane.access import guarded_by
from services.control_plane.context import AskedOnce, Context, Parts, Who
from services.control_plane.deleting import Deletion
from services.control_plane.following import SENT, EventStream
from services.control_plane.once import Kept
from services.control_plane.problems import documented
from services.control_plane.reporting import REPORT_RESPONSES, report_of_study
from services.control_plane.routes.jobs import (
    REPORT_FILES,
    ReportFormat,
    cancel_job,
    delivery_of,
    pause_job,
    resume_job,
    shown,
    stream_slot,
)
from services.control_plane.routes.narrowing import Cursor, Limit, Narrowed
from services.control_plane.store import MadeInVain
from services.control_plane.streams import follow, last_event_id
from services.control_plane.submit import until_stored
from services.control_plane.views import StudyPage, StudyView, study_state

router = APIRouter(prefix="/v1/studies", tags=["studies"], dependencies=guarded_by(reads="read", changes="submit"))


async def existing_study(study: str, parts: Parts) -> str:
    """The study's identity, if there is one: checked before a stream begins."""
    return (await parts.store.study(study)).id


@router.post("", status_code=202, response_model=StudyView, responses=documented(409, 413))
async def submit(
    spec: Annotated[StudySpec, Body(openapi_examples=examples.STUDIES)], parts: Parts, who: Who, asked: AskedOnce
) -> Response:
    """Queue a study: its jobs and the study itself are stored in one step, or not at all."""

    async def make(ticket: Kept) -> Kept:
        study, jobs = await (await parts.submission(who)).study(spec)
        known = await parts.store.children(study) | {job.role: job for job in jobs}
        if study.jobs.keys() - known.keys():
            raise MadeInVain("a job that was to be reused is deleted at this very moment")
        view = StudyView(study=study, state=study_state(known), children={key: known[key] for key in study.jobs})
        answer = ticket.answered(202, view, location=f"/v1/studies/{study.id}")
        await parts.store.create_jobs(jobs, study, answer=answer)
        parts.reconciler.wake()
        return answer

    return await parts.once.answer(asked, who.team, until_stored(make))


@router.get("", response_model=StudyPage, responses=documented())
async def list_studies(
    parts: Parts,
    narrowed: Narrowed,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The team's studies, newest first. A page may hold fewer than `limit`; `next` tells whether more may follow."""
    items, following = await parts.listing.studies(narrowed, limit=limit, cursor=cursor)
    return shown(items, following)


@router.get("/{study}", responses=documented(404))
async def read_study(study: str, parts: Parts) -> StudyView:
    """The study, its children, and its state."""
    return await _view(parts, await parts.store.study(study))


@router.delete("/{study}", status_code=204, responses=documented(404, 409))
async def delete(study: str, parts: Parts) -> None:
    """Forget a study and its own jobs, once all have ended; a baseline that it reuses belongs to another study, and stays."""
    await Deletion(parts.store, parts.redis).study(study)
    parts.reconciler.wake()


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


@router.get(
    "/{study}/events",
    status_code=200,
    response_class=EventStream,
    responses=documented(404, 429) | SENT,
    dependencies=[Depends(stream_slot)],
)
async def events(
    study: Annotated[str, Depends(existing_study)], parts: Parts, after: Annotated[str, Depends(last_event_id)]
) -> EventStream:
    """The events of all children in one order; ends with ``end`` when the report is written.

    ``gap`` and ``snapshot`` as of a job.
    """
    sent = follow(parts.hub, parts.store, parts.redis, "study", study, after=after)
    return EventStream(sent)


@router.get("/{study}/report", responses=documented(404, 409, 416) | REPORT_RESPONSES)
async def report(study: str, parts: Parts, report_format: ReportFormat = "json") -> Response:
    """What was gained and what it cost, as JSON or Markdown."""
    return await report_of_study(parts, study, REPORT_FILES[report_format])


@router.get("/{study}/report/{file}", responses=documented(404, 409, 416) | REPORT_RESPONSES)
async def report_part(study: str, file: str, parts: Parts) -> Response:
    """A file of the report: ``report.md`` or a plot."""
    return await report_of_study(parts, study, file)


@router.get("/{study}/webhook", responses=documented(404))
async def webhook(study: str, parts: Parts) -> Delivery:
    """How telling ``notify.url`` that the report is written goes, or went."""
    return await delivery_of(parts, "study", (await parts.store.study(study)).id)


async def _own(parts: Context, study: StudyRecord) -> list[JobRecord]:
    """Its children, without those of earlier studies that it reuses."""
    return [job for job in (await parts.store.children(study)).values() if job.study == study.id]


async def _view(parts: Context, study: StudyRecord) -> StudyView:
    children = await parts.store.children(study)
    return StudyView(study=study, state=study_state(children), children=children)
