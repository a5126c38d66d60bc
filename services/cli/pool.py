"""Commands for the pool: who reserves teachers, and what a team had of them, of the cluster and of the storage."""

from collections.abc import Sequence
from typing import Annotated

import typer

from distill.contracts.errors import InvalidSpec
from distill.contracts.pool import TeacherUsage, TeamUsage
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
    of_all: Annotated[bool, typer.Option("--all", help="A line for each team; with an admin key.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a team had in a month: `stillhouse usage --month 2026-11`.

    Of each teacher: rows, counted once for each member that answered; recalled ones were known already, and took no device.
    Of the cluster: what attempts held that have ended. Of the storage: as measured within the last hour.
    """
    if of_all and team is not None:
        raise InvalidSpec("--all is of every team: leave --team out", field="team", got=team)
    with client_of(context, as_json=as_json) as client:
        found = client.usage_of_all(month=month) if of_all else [client.usage(month=month, team=team)]
    if as_json:
        show_json(found if of_all else found[0])
        return
    if not of_all:
        show_table(
            ("TEAM", "TEACHER", "ROWS COMPUTED", "RECALLED", "DEVICE SECONDS", "REFUSED WINDOWS"),
            ((one.team, teacher.teacher, *_figures([teacher])) for one in found for teacher in one.teachers),
        )  # fmt: skip
        typer.echo()
    show_table(
        (
            "TEAM",
            "TEACHER ROWS",
            "DEVICE SECONDS",
            "ATTEMPTS",
            "STUDENT SECONDS",
            "CPU SECONDS",
            "GPU SECONDS",
            "STORAGE",
        ),
        (_summary(one) for one in found),
    )


def _figures(teachers: Sequence[TeacherUsage]) -> tuple[str, str, str, str]:
    return (
        f"{sum(one.rows_computed for one in teachers):,}",
        f"{sum(one.rows_recalled for one in teachers):,}",
        f"{sum(one.device_seconds for one in teachers):,.1f}",
        f"{sum(one.refusals for one in teachers):,}",
    )


def _summary(usage: TeamUsage) -> tuple[str, ...]:
    rows, _, device_seconds, _ = _figures(usage.teachers)
    had, storage = usage.students, usage.storage
    return (
        usage.team,
        rows,
        device_seconds,
        f"{had.attempts:,}",
        f"{had.worker_seconds:,.1f}",
        f"{had.cpu_seconds:,.1f}",
        f"{had.gpu_seconds:,.1f}",
        "not measured" if storage is None else f"{storage.total_bytes / 1e6:,.1f} MB, {ago(storage.measured_at)}",
    )
