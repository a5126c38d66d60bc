"""What jobs and studies leave behind them: events, logs, reports, files; cut short where a test wants that."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from distill.contracts.errors import Conflict, NotFound, TooManyStreams
from distill.contracts.notify import Delivery
from services.control_plane.views import ArtifactList, LogPage, SnapshotList
from tests.services.client.stub_house.knowledge import House, known


def routes(house: House) -> APIRouter:
    """Over what ``house`` knows."""
    router = APIRouter()

    @router.get("/v1/jobs/{job}/events")
    @router.get("/v1/studies/{job}/events")
    def events(job: str, last_event_id: str = Header("0-0")) -> StreamingResponse:
        if house.full:
            house.full -= 1
            raise TooManyStreams("there is no place for another follower")
        return StreamingResponse(_events(house, last_event_id), media_type="text/event-stream")

    @router.get("/v1/jobs/{job}/logs")
    def logs(job: str, offset: int = 0, follow: bool = False) -> Any:
        known(house.jobs, job)
        if follow:
            return Response(house.log, media_type="text/plain")
        text = house.log[offset : offset + 11]
        after = offset + len(text)
        return LogPage(
            job=job, attempt=1, offset=offset, next_offset=after, text=text, complete=after == len(house.log)
        )

    @router.get("/v1/{kind}/{identity}/report")
    def report(kind: str, identity: str) -> Response:
        if identity not in house.jobs | house.studies:
            raise NotFound(f"there is no {identity!r}")
        if identity not in house.files:
            raise Conflict(f"{identity} is RUNNING; its report is written when it has ended")
        return Response(house.files[identity], media_type="text/markdown")

    @router.get("/v1/jobs/{identity}/webhook")
    @router.get("/v1/studies/{identity}/webhook")
    def webhook(identity: str) -> Delivery:
        return known(house.deliveries, identity)

    @router.get("/v1/jobs/{job}/artifacts")
    def artifacts(job: str) -> ArtifactList:
        return ArtifactList(items=[house.artifact(name) for name in house.files])

    @router.get("/v1/jobs/{job}/snapshots")
    def snapshots(job: str) -> SnapshotList:
        return SnapshotList(items=house.snapshots[known(house.jobs, job).id])

    @router.get("/v1/jobs/{job}/artifacts/{name}")
    def artifact(job: str, name: str, byte_range: str = Header("bytes=0-", alias="Range")) -> Response:
        start = int(byte_range.removeprefix("bytes=").partition("-")[0])
        content = house.files[name][start:]
        headers = {"ETag": f'"{house.artifact(name).digest}"', "Content-Length": str(len(content))}
        if house.breaks:
            return StreamingResponse(_torn(content[: house.breaks.pop(0)]), 206 if start else 200, headers)
        return Response(content, 206 if start else 200, headers)

    return router


async def _events(house: House, last: str) -> AsyncIterator[str]:
    remaining = house.breaks.pop(0) if house.breaks else len(house.sent)
    after = int(last.partition("-")[0])
    for identity, name, data in house.sent:
        if identity is not None and int(identity.partition("-")[0]) <= after:
            continue
        if remaining == 0:
            return
        remaining -= 1
        yield (f"id: {identity}\n" if identity else "") + f"event: {name}\ndata: {json.dumps(data)}\n\n: alive\n\n"


async def _torn(content: bytes) -> AsyncIterator[bytes]:
    """Less than the header promised: the server then drops the connection."""
    yield content
