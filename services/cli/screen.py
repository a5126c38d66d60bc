"""What goes to the screen, and what goes to a program: with ``--json`` nothing but JSON reaches standard output."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from distill.contracts.errors import StillhouseError

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Machine-readable: JSON on standard output, and nothing else.")]


def show_json(value: BaseModel | Sequence[BaseModel] | dict[str, Any]) -> None:
    """One JSON value on standard output."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def show_line(value: BaseModel | dict[str, Any]) -> None:
    """One JSON value on one line: for streams."""
    typer.echo(json.dumps(_plain(value), ensure_ascii=False))


def say(text: str) -> None:
    """A remark for the person, on standard error: standard output stays for results."""
    typer.echo(text, err=True)


def show_error(error: StillhouseError, *, as_json: bool) -> None:
    """The error, on standard error."""
    problem = error.problem()
    if as_json:
        typer.echo(problem.model_dump_json(exclude_none=True), err=True)
        return
    typer.secho(f"error: {problem.message}", fg="red", err=True)
    # the message often says these already; once is enough
    details = (("field", problem.field), ("expected", problem.expected), ("got", problem.got))
    for name, text in details:
        if text and text not in problem.message:
            say(f"  {name + ':':9} {text}")
    if problem.hint:
        say(f"  {problem.hint}")


def console(*, err: bool = False) -> "Console":
    """A terminal, or plain wide text where it isn't one."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(stderr=err, highlight=False, width=None if stream.isatty() else 200)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table without frames: easy on the eye, and for ``awk``."""
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def show_markdown(text: str) -> None:
    """Rendered on a terminal, as it is elsewhere."""
    if not sys.stdout.isatty():
        typer.echo(text)
        return
    from rich.markdown import Markdown

    console().print(Markdown(text))


def ago(moment: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _plain(value: BaseModel | Sequence[BaseModel] | dict[str, Any]) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value if isinstance(value, dict) else [one.model_dump(mode="json") for one in value]
