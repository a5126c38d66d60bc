"""``/v1/gc``: what has had its time goes."""

from typing import Annotated

from fastapi import APIRouter, Query

from services.control_plane.access import guarded_by
from services.control_plane.context import Parts
from services.control_plane.problems import documented
from services.control_plane.views import Collected

router = APIRouter(prefix="/v1/gc", tags=["upkeep"], dependencies=guarded_by(reads="admin", changes="admin"))


@router.post("", responses=documented())
async def collect(
    parts: Parts, dry_run: Annotated[bool, Query(description="Say what would go, and change nothing.")] = False
) -> Collected:
    """Remove what the settings let go: it happens once an hour anyway. Nothing goes that something refers to."""
    return await parts.collector.collect(dry_run=dry_run)
