"""Commands for the pool: who reserves teachers, and what a team had of them."""

from typing import Annotated

import typer

from services.cli.call import client_of
from services.cli.screen import Json, ago, show_json, show_table


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (reservations, usage):
        app.command(rich_help_panel="Teachers")(command)


def reservations(context: typer.Context, as_json: Json = False) -> None:
    """List the reservations that live: training loops of people's own that ask the pool, each with its door.

    One ends by itself 30 s after it was last renewed.
    """
    with client_of(context, as_json=as_json) as client:
        found = client.reservations()
    if as_json:
        show_json(found)
        return
    show_table(
        ("ID", "TEAM", "TEACHER", "ROWS/S", "CREATED", "DOOR"),
        ((one.id, one.team, one.teacher.reference, f"{one.rows_per_s:,.0f}", ago(one.created_at), one.door)
         for one in found),
    )  # fmt: skip


def usage(
    context: typer.Context,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Left out: this one, in UTC.")] = None,
    team: Annotated[str | None, typer.Option(help="Left out: one's own.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a team had of each teacher in a month: `stillhouse usage --month 2026-11`.

    Rows are counted once for each member that answered. Recalled ones were known already, and took no device.
    """
    with client_of(context, as_json=as_json) as client:
        found = client.usage(month=month, team=team)
    if as_json:
        show_json(found)
        return
    show_table(
        ("TEAM", "TEACHER", "ROWS COMPUTED", "RECALLED", "DEVICE SECONDS", "REFUSED WINDOWS"),
        ((found.team, one.teacher, f"{one.rows_computed:,}", f"{one.rows_recalled:,}", f"{one.device_seconds:,.1f}",
          f"{one.refusals:,}") for one in found.teachers),
    )  # fmt: skip
