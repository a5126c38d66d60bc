"""What every listing is asked with: how much, from where on, and narrowed to what."""

from typing import Annotated

from fastapi import Depends, Query
from pydantic import AwareDatetime

from distill.contracts.labels import MAX_LABELS, read_labels
from distill.contracts.records import JobState
from services.control_plane.context import Who
from services.control_plane.lists import Wanted

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(description="`next` of the page before.", max_length=200)]
TaughtBy = Annotated[
    str | None,
    Query(
        pattern=r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?@[1-9][0-9]{0,8}$",
        description="Those that learn from this version of a teacher, such as `fashion@3`.",
    ),
]
Label = Annotated[str, Query(max_length=127)]


async def get_narrowed(
    who: Who,
    state: JobState | None = None,
    label: Annotated[
        list[Label], Query(max_length=MAX_LABELS, description="Such as `owner=ada`; of several, all must be there.")
    ] = [],  # noqa: B006 - FastAPI copies it
    created_after: Annotated[AwareDatetime | None, Query(description="At this moment or later.")] = None,
    created_before: Annotated[AwareDatetime | None, Query(description="Earlier than this moment.")] = None,
) -> Wanted:
    """What a listing is narrowed to.

    Raises:
        InvalidSpec: a label is not ``key=value``, or can't be one.
    """
    return Wanted(
        team=who.team, state=state, labels=read_labels(label), created_after=created_after,
        created_before=created_before,
    )  # fmt: skip


Narrowed = Annotated[Wanted, Depends(get_narrowed)]
