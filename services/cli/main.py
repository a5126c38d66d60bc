"""`stillhouse`: the program."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from distill.contracts.errors import StillhouseError
from services.cli import audit, demo, exit_codes, jobs, keys, lineage, machine, pool, studies, teachers, teams, upkeep
from services.cli.call import Call
from services.cli.screen import show_error


class _Program(TyperGroup):
    """Ends with the exit code that an error stands for."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except StillhouseError as error:
            show_error(error, as_json=bool(getattr(ctx.obj, "as_json", False)))
            raise typer.Exit(exit_codes.exit_code(error)) from error


app = typer.Typer(
    name="stillhouse",
    cls=_Program,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog=exit_codes.TABLE,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def program(
    context: typer.Context,
    server: str | None = typer.Option(
        None,
        "--server",
        metavar="URL",
        help="The control plane. Left out: STILLHOUSE_URL, else the stack of this machine.",
    ),
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="Holds the API key. Left out: STILLHOUSE_KEY, STILLHOUSE_KEY_FILE, else that of this machine's stack.",
        ),
    ] = None,
    team: Annotated[
        str | None,
        typer.Option("--team", metavar="NAME", help="In whose name, with an admin key. Left out: the key's own team."),
    ] = None,
) -> None:
    """Stillhouse: a shared pool of teacher ensembles teaches small students.

    A first round:

    - `stillhouse up` in one terminal starts everything on this machine
    - `stillhouse submit examples/digits-baseline.yaml --watch` in another trains a small network, and shows how it goes
    - `stillhouse report ID` then says how good it is, and `stillhouse download ID` fetches it

    Or see it all at once: `stillhouse demo`.
    """
    context.obj = Call(server=server, key_file=key_file, team=team)


machine.register(app)
jobs.register(app)
studies.register(app)
lineage.register(app)
teachers.register(app)
pool.register(app)
teams.register(app)
keys.register(app)
audit.register(app)
upkeep.register(app)
demo.register(app)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
