"""``/v1/jobs``: submit, list, read, cancel, pause, delete, follow, and fetch what a job left."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Query, Response

from distill.contracts.base import now
from distill.contracts.errors import Conflict, InvalidSpec, NotFound
from distill.contracts.facts import CancelAsked, PauseAsked, PrioritySet, ResumeAsked
from distill.contracts.job import JobSpec
from distill.contracts.lineage import JobLineage
from distill.contracts.names import Kind
from distill.contracts.notify import Delivery
from distill.contracts.records import JobRecord, JobState, Wish
from services.control_plane import examples
from services.control_plane.access import guarded_by
from services.control_plane.artifacts import ARTIFACT_TYPES, find_artifact, list_artifacts, list_snapshots, send_file
from services.control_plane.context import AskedOnce, Context, Parts, Who
from services.control_plane.deleting import Deletion
from services.control_plane.following import SENT, EventStream, LogStream
from services.control_plane.heads import Shown, page_of
from services.control_plane.lineage import Lineage
from services.control_plane.logs import follow_log, read_log, whole_characters
from services.control_plane.once import Kept
from services.control_plane.problems import documented, documented_file
from services.control_plane.reporting import REPORT_RESPONSES, report_of_job
from services.control_plane.routes.narrowing import Cursor, Limit, Narrowed, TaughtBy
from services.control_plane.streams import follow, last_event_id
from services.control_plane.submit import until_stored
from services.control_plane.views import ArtifactList, JobPage, JobPriority, LogPage, SnapshotList
from services.control_plane.webhooks.outbox import read_delivery

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=guarded_by(reads="read", changes="submit"))

ReportFormat = Annotated[Literal["json", "markdown"], Query(alias="format")]
REPORT_FILES = {"json": "report.json", "markdown": "report.md"}


Follow = Annotated[bool, Query(alias="follow", description="Stream as plain text until the job ends.")]


async def existing_job(job: str, parts: Parts) -> str:
    """The job's identity, if there is one: checked before a stream begins."""
    return (await parts.store.job(job)).id


async def stream_slot(parts: Parts, who: Who) -> AsyncIterator[None]:
    """A place among the streams that are sent at once, held until the last byte is."""
    with parts.slots.taken(who.team):
        yield


async def log_slot(parts: Parts, who: Who, follow_on: Follow = False) -> AsyncIterator[None]:
    """As `stream_slot`, for a log that is followed."""
    with parts.slots.taken(who.team) if follow_on else nullcontext():
        yield


@router.post("", status_code=202, response_model=JobRecord, responses=documented(409, 413))
async def submit(
    spec: Annotated[JobSpec, Body(openapi_examples=examples.JOBS)], parts: Parts, who: Who, asked: AskedOnce
) -> Response:
    """Queue a job. The answer is the stored record; follow it at ``Location`` + ``/events``."""

    async def make(ticket: Kept) -> Kept:
        job = await (await parts.submission(who)).job(spec)
        answer = ticket.answered(202, job, location=f"/v1/jobs/{job.id}")
        await parts.store.create_jobs([job], answer=answer)
        parts.reconciler.wake()
        return answer

    return await parts.once.answer(asked, who.team, until_stored(make))


@router.get("", response_model=JobPage, responses=documented())
async def list_jobs(
    parts: Parts,
    who: Who,
    narrowed: Narrowed,
    limit: Limit = 50,
    cursor: Cursor = None,
    study: Annotated[str | None, Query(max_length=64, description="Also its jobs of others that it reuses.")] = None,
    teacher: TaughtBy = None,
) -> Response:
    """The team's jobs, newest first. A page may hold fewer than `limit`; `next` tells whether more may follow."""
    narrowed = replace(narrowed, teacher=teacher)
    if study is None:
        items, following = await parts.listing.jobs(narrowed, limit=limit, cursor=cursor)
        return shown(items, following)
    own = (one for one in await parts.store.studies([study]) if one.team == who.team)
    for one in own:
        items, following = await parts.listing.jobs_of(one, narrowed, limit=limit, cursor=cursor)
        return shown(items, following)
    return shown([], None)


def shown(items: Sequence[Shown], following: str | None) -> Response:
    """A page of what is stored, which nobody reads or writes anew."""
    return Response(page_of(items, following), media_type="application/json")


@router.get("/{job}", responses=documented(404))
async def read_job(job: str, parts: Parts) -> JobRecord:
    """The stored record."""
    return await parts.store.job(job)


@router.get("/{job}/lineage", responses=documented(404))
async def lineage(job: str, parts: Parts) -> JobLineage:
    """Where its student comes from, and what came of it: one step each way, of many the newest 100."""
    return await Lineage(parts.store, parts.redis).of_job(await parts.store.job(job))


@router.delete("/{job}", status_code=204, responses=documented(404, 409))
async def delete(job: str, parts: Parts) -> None:
    """Forget a job that has ended, and that nothing refers to: record, events, logs, checkpoints, artifacts."""
    await Deletion(parts.store, parts.redis).job(job)
    parts.reconciler.wake()


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


@router.post("/{job}/priority", status_code=202, responses=documented(404, 409))
async def set_priority(job: str, wanted: JobPriority, parts: Parts) -> JobRecord:
    """Let the job start sooner, or later, than others of its team that wait; what runs goes on as it is."""
    record = await parts.store.job(job)
    if record.state.is_final:
        raise Conflict(f"{job} is {record.state.value}, and has no place in the queue any more", got=record.state.value)
    return await _wished(parts, job, PrioritySet(priority=wanted.priority, at=now()))


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


async def _wished(parts: Context, job: str, fact: CancelAsked | PauseAsked | ResumeAsked | PrioritySet) -> JobRecord:
    await parts.store.append("job", job, fact)
    parts.reconciler.wake()
    return await parts.store.job(job)


@router.get(
    "/{job}/events",
    status_code=200,
    response_class=EventStream,
    responses=documented(404, 429) | SENT,
    dependencies=[Depends(stream_slot)],
)
async def events(
    job: Annotated[str, Depends(existing_job)], parts: Parts, after: Annotated[str, Depends(last_event_id)]
) -> EventStream:
    """Server-sent events, each with its stream id; ``Last-Event-ID`` replays what came after. Ends with ``end``.

    Where some of what came after is kept no more, a ``gap`` and a ``snapshot`` of the record stand in its place.
    """
    sent = follow(parts.hub, parts.store, parts.redis, "job", job, after=after)
    return EventStream(sent)


@router.get(
    "/{job}/logs",
    responses=documented(404, 429)
    | {200: {"model": LogPage, "description": "A page, or text.", "content": {"text/plain": {}}}},
    dependencies=[Depends(log_slot)],
)
async def logs(
    job: str,
    parts: Parts,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31, description="Left out: the newest.")] = None,
    offset: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(ge=4, le=1 << 20, description="Bytes.")] = 1 << 16,
    follow_on: Follow = False,
) -> Any:
    """A page of an attempt's log, or all of it as it grows; kept after the cluster is gone."""
    record = await parts.store.job(job)
    storage = parts.settings.node.storage
    if attempt is not None and attempt > max(record.attempt, 1):
        raise InvalidSpec(f"job {job} has {record.attempt} attempts", field="attempt", got=str(attempt))
    if follow_on:
        return LogStream(follow_log(parts.store, storage, job, attempt=attempt))
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


@router.get("/{job}/webhook", responses=documented(404))
async def webhook(job: str, parts: Parts) -> Delivery:
    """How telling ``notify.url`` of the job's end goes, or went."""
    return await delivery_of(parts, "job", (await parts.store.job(job)).id)


async def delivery_of(parts: Context, kind: Kind, identity: str) -> Delivery:
    """How telling of its end goes.

    Raises:
        NotFound: nobody has been told yet, or nobody is to be.
    """
    found = await read_delivery(parts.redis, kind, identity)
    if found is None:
        raise NotFound(f"nobody has been told of the end of {identity}", hint="`notify` in its file says who is to be")
    return found


@router.get("/{job}/artifacts/{name}", responses=documented(404, 409, 416) | documented_file(*ARTIFACT_TYPES))
async def artifact(
    job: str, name: str, parts: Parts, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """One file, whole or by ``Range``; its digest is the ``ETag``."""
    found = await find_artifact(parts, job, name)
    return send_file(parts.settings.node.storage, found, if_none_match=if_none_match)
