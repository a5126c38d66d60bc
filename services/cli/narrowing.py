"""What lists are narrowed to on the command line."""

import re
from datetime import datetime, timedelta
from typing import Annotated

import typer

from distill.contracts.base import now
from distill.contracts.errors import InvalidSpec

WithLabel = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only those with this label; given twice, with both.")
]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Only those made since: `30min`, `2h`, `7d` ago, or an ISO time.")
]

UNITS = {"s": "seconds", "min": "minutes", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
AGO = re.compile(r"(\d{1,6}) ?(s|min|m|h|d|w)")


def moment_of(since: str | None) -> datetime | None:
    """``2h`` is two hours ago; an ISO time without a zone is of this machine's.

    Raises:
        InvalidSpec: it is neither.
    """
    if since is None:
        return None
    ago = AGO.fullmatch(since.strip())
    try:
        return now() - timedelta(**{UNITS[ago[2]]: int(ago[1])}) if ago else datetime.fromisoformat(since).astimezone()
    except (ValueError, OverflowError) as error:
        expected = "such as 30min, 2h, 7d or 2026-11-01T12:00"
        raise InvalidSpec(f"--since: expected {expected}, got {since!r}", field="--since", got=since) from error
