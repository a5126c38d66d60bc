"""``/v1/jobs``: submit, list, read, cancel, pause, follow, and fetch what a job left."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from distill.contracts.base import now
from distill.contracts.errors import Conflict, InvalidSpec
from distill.contracts.facts import CancelAsked, PauseAsked, ResumeAsked
from distill.contracts.job import JobSpec
from distill.contracts.records import JobRecord, JobState, Wish
from services.control_plane import examples
from services.control_plane.artifacts import ARTIFACT_TYPES, find_artifact, list_artifacts, list_snapshots, send_file
from services.control_plane.context import Context, Parts, Who
from services.control_plane.problems import documented, documented_file
from services.control_plane.reporting import REPORT_RESPONSES, report_of_job
from services.control_plane.streams import follow, follow_log, last_event_id, read_log, whole_characters
from services.control_plane.views import ArtifactList, JobPage, LogPage, SnapshotList

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Limit = Annotated[int, Query(ge=1, le=200)]
ReportFormat = Annotated[Literal["json", "markdown"], Query(alias="format")]
REPORT_FILES = {"json": "report.json", "markdown": "report.md"}


async def existing_job(job: str, parts: Parts) -> str:
    """The job's identity, if there is one: checked before a stream begins."""
    return (await parts.store.job(job)).id


@router.post("", status_code=202, responses=documented(413))
async def submit(
    spec: Annotated[JobSpec, Body(openapi_examples=examples.JOBS)], parts: Parts, who: Who, response: Response
) -> JobRecord:
    """Queue a job. The answer is the stored record; follow it at ``Location`` + ``/events``."""
    job = await (await parts.submission(who)).job(spec)
    await parts.store.create_jobs([job])
    parts.reconciler.wake()
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("", responses=documented())
async def list_jobs(
    parts: Parts,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before.", max_length=200)] = None,
    state: JobState | None = None,
    study: Annotated[str | None, Query(max_length=64)] = None,
) -> JobPage:
    """Jobs, newest first; of a study also those of others that it reuses."""
    kept: list[JobRecord] = []
    reused = await _listed(parts, study)
    while len(kept) < limit:
        identities, cursor = await parts.store.page("job", limit=limit - len(kept), cursor=cursor)
        jobs = await parts.store.jobs(identities)
        kept += [job for job in jobs if state in {None, job.state} and (study in {None, job.study} or job.id in reused)]
        if cursor is None:
            break
    return JobPage(items=kept, next=cursor)


async def _listed(parts: Context, study: str | None) -> set[str]:
    if study is None:
        return set()
    return {job for one in await parts.store.studies([study]) for job in one.jobs.values()}


@router.get("/{job}", responses=documented(404))
async def read_job(job: str, parts: Parts) -> JobRecord:
    """The stored record."""
    return await parts.store.job(job)


@router.post("/{job}/cancel", status_code=202, responses=documented(404))
async def cancel(job: str, parts: Parts) -> JobRecord:
    """Ask the job to end, keeping a checkpoint; asking twice, or after its end, changes nothing."""
    return await cancel_job(parts, job)


async def cancel_job(parts: Context, job: str) -> JobRecord:
    """Put the wish into the job's inbox, and return the record that it led to."""
    await parts.store.job(job)
    return await _wished(parts, job, CancelAsked(at=now()))


@router.post("/{job}/pause", status_code=202, responses=documented(404, 409))
async def pause(job: str, parts: Parts) -> JobRecord:
    """Let the job save a checkpoint and give its resources back until it is resumed; asking twice changes nothing."""
    return await pause_job(parts, await parts.store.job(job))


@router.post("/{job}/resume", status_code=202, responses=documented(404, 409))
async def resume(job: str, parts: Parts) -> JobRecord:
    """Let a paused job go on from its checkpoint when its turn comes; one that isn't paused goes on anyway."""
    return await resume_job(parts, await parts.store.job(job))


async def pause_job(parts: Context, job: JobRecord) -> JobRecord:
    """Put the wish into the job's inbox, and return the record that it led to.

    Raises:
        Conflict: the job has ended, or is about to be cancelled.
    """
    if job.state.is_final or job.wish is Wish.CANCEL:
        raise Conflict(f"{job.id} is {job.state.value}, and can't be paused any more", got=job.state.value)
    return await _wished(parts, job.id, PauseAsked(at=now()))


async def resume_job(parts: Context, job: JobRecord) -> JobRecord:
    """Put the wish into the job's inbox, and return the record that it led to.

    Raises:
        Conflict: the job has ended, is about to be cancelled, or is still pausing.
    """
    if job.state is JobState.PAUSING:
        raise Conflict(f"{job.id} still saves what it has; resume it once it is PAUSED", got=job.state.value)
    if job.state.is_final or job.wish is Wish.CANCEL:
        raise Conflict(f"{job.id} is {job.state.value}, and can't be resumed any more", got=job.state.value)
    return await _wished(parts, job.id, ResumeAsked(at=now()))


async def _wished(parts: Context, job: str, fact: CancelAsked | PauseAsked | ResumeAsked) -> JobRecord:
    await parts.store.append("job", job, fact)
    parts.reconciler.wake()
    return await parts.store.job(job)


@router.get("/{job}/events", response_class=EventSourceResponse, responses=documented(404))
async def events(
    job: Annotated[str, Depends(existing_job)], parts: Parts, after: Annotated[str, Depends(last_event_id)]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events, each with its stream id; ``Last-Event-ID`` replays what came after. Ends with ``end``."""
    async for event in follow(parts.store, parts.blocking_redis, "job", job, after=after):
        yield event


@router.get(
    "/{job}/logs",
    responses=documented(404)
    | {200: {"model": LogPage, "description": "A page, or text.", "content": {"text/plain": {}}}},
)
async def logs(
    job: str,
    parts: Parts,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31, description="Left out: the newest.")] = None,
    offset: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(ge=4, le=1 << 20, description="Bytes.")] = 1 << 16,
    follow_on: Annotated[bool, Query(alias="follow", description="Stream as plain text until the job ends.")] = False,
) -> Any:
    """A page of an attempt's log, or all of it as it grows; kept after the cluster is gone."""
    record = await parts.store.job(job)
    storage = parts.settings.node.storage
    if attempt is not None and attempt > max(record.attempt, 1):
        raise InvalidSpec(f"job {job} has {record.attempt} attempts", field="attempt", got=str(attempt))
    if follow_on:
        return StreamingResponse(
            follow_log(parts.store, storage, job, attempt=attempt), media_type="text/plain; charset=utf-8"
        )
    number = attempt or max(record.attempt, 1)
    has_ended = record.state.is_final or number < record.attempt
    found = await asyncio.to_thread(read_log, storage, job, number, offset, limit)
    complete = has_ended and len(found) < limit
    text, used = whole_characters(found, final=complete)
    return LogPage(job=job, attempt=number, offset=offset, next_offset=offset + used, text=text, complete=complete)


@router.get("/{job}/report", responses=documented(404, 409, 416) | REPORT_RESPONSES)
async def report(job: str, parts: Parts, report_format: ReportFormat = "json") -> Response:
    """What was gained and what it cost, as JSON or Markdown."""
    return await report_of_job(parts, job, REPORT_FILES[report_format])


@router.get("/{job}/report/{file}", responses=documented(404, 409, 416) | REPORT_RESPONSES)
async def report_part(job: str, file: str, parts: Parts) -> Response:
    """A file of the report: ``report.md`` or a plot."""
    return await report_of_job(parts, job, file)


@router.get("/{job}/artifacts", responses=documented(404, 409))
async def artifacts(job: str, parts: Parts) -> ArtifactList:
    """What the finished job left."""
    return ArtifactList(items=list(await list_artifacts(parts, job)))


@router.get("/{job}/snapshots", responses=documented(404, 409))
async def snapshots(job: str, parts: Parts) -> SnapshotList:
    """The weights that the finished job kept of its way, by epoch: members for a teacher that is followed in order."""
    return SnapshotList(items=list(await list_snapshots(parts, job)))


@router.get("/{job}/artifacts/{name}", responses=documented(404, 409, 416) | documented_file(*ARTIFACT_TYPES))
async def artifact(
    job: str, name: str, parts: Parts, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """One file, whole or by ``Range``; its digest is the ``ETag``."""
    found = await find_artifact(parts, job, name)
    return send_file(parts.settings.node.storage, found, if_none_match=if_none_match)
