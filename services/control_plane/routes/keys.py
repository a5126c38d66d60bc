"""``/v1/keys``: the operator makes keys for teams, gives them new secrets, and ends them."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from distill.contracts.keys import KeyRotation, KeySpec, KeyView, NewKey
from services.control_plane import examples
from services.control_plane.access import guarded_by
from services.control_plane.context import Parts, Who
from services.control_plane.problems import documented
from services.control_plane.views import KeyList

router = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=guarded_by(reads="admin", changes="admin"))

NOT_KEPT = {"Cache-Control": "no-store"}
"""With every answer that holds a secret."""


@router.post("", status_code=201, responses=documented(413))
async def create(
    spec: Annotated[KeySpec, Body(openapi_examples=examples.KEYS)], parts: Parts, who: Who, response: Response
) -> NewKey:
    """Make a key, for any team. The answer holds it, this once: only its hash is stored."""
    made = await parts.keys.create(spec, team=spec.team or who.team)
    response.headers.update(NOT_KEPT | {"Location": f"/v1/keys/{made.record.id}"})
    return made


@router.get("", responses=documented())
async def list_keys(parts: Parts) -> KeyList:
    """Every key of every team, without its secret, the oldest first."""
    return KeyList(items=[record.view() for record in await parts.keys.all()])


@router.post("/{key}/rotate", responses=documented(404, 409))
async def rotate(
    key: str, parts: Parts, response: Response, rotation: Annotated[KeyRotation | None, Body()] = None
) -> NewKey:
    """Give a key a new secret, shown this once; the old one holds for another `overlap_s`, a day if not said."""
    made = await parts.keys.rotate(key, rotation or KeyRotation())
    response.headers.update(NOT_KEPT)
    return made


@router.delete("/{key}", responses=documented(404, 409))
async def revoke(key: str, parts: Parts) -> KeyView:
    """End a key: within a second nobody takes it any more, and streams that were opened with it end."""
    return (await parts.keys.revoke(key)).view()
