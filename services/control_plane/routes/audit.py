"""``/v1/audit``: who changed what, and whether that is still what was written down."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime

from distill.contracts.base import Name
from distill.contracts.keys import KeyId
from services.control_plane.access import guarded_by
from services.control_plane.audit.chain import head_of, to_line
from services.control_plane.audit.reading import AuditReader, Wanted
from services.control_plane.context import Context, Parts, Who
from services.control_plane.heads import Shown, page_of
from services.control_plane.lists import decode_cursor, encode_cursor
from services.control_plane.problems import documented
from services.control_plane.routes.narrowing import Cursor, Limit
from services.control_plane.views import AuditPage, AuditVerdict

router = APIRouter(prefix="/v1/audit", tags=["audit"], dependencies=guarded_by(reads="read", changes="admin"))
verifying = APIRouter(prefix="/v1/audit", tags=["audit"], dependencies=guarded_by(reads="admin", changes="admin"))

NUM_SHOWN = 100


def get_wanted(
    who: Who,
    team: Annotated[Name | None, Query(description="Of an admin: left out, all teams; else the key's own.")] = None,
    key: Annotated[KeyId | None, Query(description="Id of the API key that was shown.")] = None,
    path: Annotated[
        str | None, Query(max_length=200, description="What path or route begins with: `/v1/keys`, `/v1/jobs/{job}`.")
    ] = None,
    since: Annotated[AwareDatetime | None, Query(description="At this moment or later.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Earlier than this moment.")] = None,
) -> Wanted:
    """What a page is narrowed to: who is no admin sees her own team's alone."""
    own = team if who.may("admin") else who.team
    return Wanted(team=own, key=key, path=path, since=since, until=until)


@router.get("", response_model=AuditPage, responses=documented())
async def read_log(
    parts: Parts, wanted: Annotated[Wanted, Depends(get_wanted)], limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Changes that were asked for and what they were answered, newest first; a page may hold fewer than `limit`.

    Each entry has its number and its hash. Take `hash` out of an entry, write the rest as JSON with its keys in order and
    without spaces, and put the hash of the entry before it in front: of that it is the SHA-256.
    """
    before = None if cursor is None else int(decode_cursor(cursor).partition(":")[0])
    links, following = await reader(parts).page(wanted, limit=limit, before=before)
    shown = [Shown(str(link.number), to_line(link)) for link in links]
    content = page_of(shown, None if following is None else encode_cursor(f"{following:016d}:audit"))
    return Response(content, media_type="application/json")


@verifying.get("/verify", responses=documented())
async def verify(
    parts: Parts,
    noted: Annotated[
        str | None, Query(max_length=100, description="The `head` of an earlier verification, noted elsewhere.")
    ] = None,
) -> AuditVerdict:
    """Walk the whole log, in Redis and in files: is each entry what was written, after the one before it?"""
    walk = await reader(parts).walk(None if noted is None else head_of(noted))
    unanswered = list(walk.unanswered)
    return AuditVerdict(
        whole=walk.fault is None,
        num_entries=walk.head.number,
        head=str(walk.head),
        broken_at=None if walk.fault is None else walk.fault.number,
        what=None if walk.fault is None else walk.fault.what,
        num_unanswered=len(unanswered),
        unanswered=unanswered[-NUM_SHOWN:],
    )


def reader(parts: Context) -> AuditReader:
    """The log of this service."""
    return AuditReader(parts.redis, parts.settings.node.storage)
