"""Commands for teams: what each is granted, and what it has of that now."""

from collections.abc import Mapping
from typing import Annotated

import typer

from distill.contracts.base import Name
from distill.contracts.errors import InvalidSpec
from distill.contracts.teams import TeamSpec
from services.cli.call import client_of
from services.cli.screen import Json, say, show_json, show_table

Team = Annotated[str, typer.Argument(metavar="NAME", help="A team.")]
Quota = str | None
HELP = "A number, or `none` for no bound."

teams = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(teams, name="teams", rich_help_panel="Teams and keys")


@teams.callback(invoke_without_command=True)
def list_all(context: typer.Context, as_json: Json = False) -> None:
    """List teams: weight, and of each quota how much is used and granted.

    `stillhouse teams set vision --weight 2 --max-jobs 10` grants; so can only an operator.
    """
    if context.invoked_subcommand is not None:
        return
    with client_of(context, as_json=as_json) as client:
        found = client.teams()
    if as_json:
        show_json(found)
        return
    rows = ((one.team.name, one.team.granted, one.has) for one in found)
    show_table(
        ("TEAM", "WEIGHT", "QUEUED", "JOBS", "WORKERS", "CPUS", "GPUS", "TEACHER ROWS/S", "TEACHER ROWS THIS MONTH"),
        (
            (
                name,
                f"{granted.weight:g}",
                f"{has.queued:,}",
                _used(has.jobs, granted.max_jobs),
                _used(has.workers, granted.max_workers),
                f"{has.cpus:g}",
                _used(has.gpus, granted.max_gpus),
                "-" if granted.max_teacher_rows_per_s is None else f"at most {granted.max_teacher_rows_per_s:,.10g}",
                _used(has.teacher_rows_this_month, granted.max_teacher_rows_per_month),
            )
            for name, granted, has in rows
        ),
    )


@teams.command("set")
def change(
    context: typer.Context,
    name: Team,
    weight: Annotated[
        str | None, typer.Option(metavar="W", help="Its share beside others: 2 has twice what 1 has.")
    ] = None,
    max_jobs: Annotated[Quota, typer.Option(metavar="N", help=f"Jobs at a time. {HELP}")] = None,
    max_workers: Annotated[Quota, typer.Option(metavar="N", help=f"Workers at a time. {HELP}")] = None,
    max_gpus: Annotated[Quota, typer.Option(metavar="N", help=f"GPUs of these workers. {HELP}")] = None,
    max_teacher_rows_per_s: Annotated[
        Quota, typer.Option(metavar="N", help=f"Rows a second that these jobs declare. {HELP}")
    ] = None,
    max_teacher_rows_per_month: Annotated[
        Quota, typer.Option(metavar="N", help=f"Rows times members that teachers compute for it. {HELP}")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change what a team is granted; what isn't named stays. `stillhouse teams set vision --weight 2 --max-gpus none`."""
    changes = {
        "weight": weight,
        "max_jobs": max_jobs,
        "max_workers": max_workers,
        "max_gpus": max_gpus,
        "max_teacher_rows_per_s": max_teacher_rows_per_s,
        "max_teacher_rows_per_month": max_teacher_rows_per_month,
    }
    given = {field: text for field, text in changes.items() if text is not None}
    if not given:
        raise InvalidSpec("nothing is to be changed: give --weight or a quota", field="weight", expected="an option")
    _check_name(name)
    with client_of(context, as_json=as_json) as client:
        made = client.grant(name, _changed(client.team(name).team.granted, given))
    if as_json:
        show_json(made)
    else:
        say(f"team {name} has " + ", ".join(f"{field} {value}" for field, value in made.granted if value is not None))


def _check_name(name: str) -> None:
    from pydantic import TypeAdapter

    from services.cli.files import validated

    validated(TypeAdapter[str](Name), name, where="team")


def _changed(granted: TeamSpec, given: Mapping[str, str]) -> TeamSpec:
    from services.cli.files import as_adapter, validated

    values = {field: None if text == "none" else text for field, text in given.items()}
    made: TeamSpec = validated(as_adapter(TeamSpec), granted.model_dump() | values, where="team")
    return made


def _used(used: float, granted: float | None) -> str:
    return f"{used:,.10g}" + ("" if granted is None else f" of {granted:,.10g}")
