"""The command for the audit log: who changed what, and whether that is still what was written down."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from distill.contracts.audit import ChangeAnswered, ChangeAsked
from services.cli import exit_codes
from services.cli.call import client_of
from services.cli.narrowing import moment_of
from services.cli.screen import Json, say, show_json, show_table

if TYPE_CHECKING:
    from services.client.client import StillhouseClient
    from services.control_plane.views import AuditLink

Row = tuple[str, ...]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Teams and keys")(audit)


def audit(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what was since: `30min`, `2h`, `7d` ago, or an ISO time.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="Only what was asked with this API key.")] = None,
    path: Annotated[
        str | None, typer.Option(metavar="PATH", help="Only paths that begin so, such as `/v1/keys`.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many entries.")] = 100,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the whole log instead, and say its head; for admins.")
    ] = False,
    noted: Annotated[
        str | None, typer.Option(metavar="HEAD", help="With --verify: the head of an earlier time must still be in it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show who changed what, newest first: one's own team's; with an admin key all teams', or `--team`'s.

    `stillhouse audit --verify` finds entries that were changed or taken away. Note the head that it says in another place:
    `stillhouse audit --verify --noted HEAD` then also finds a log that was written anew.
    """
    with client_of(context, as_json=as_json) as client:
        if verify or noted is not None:
            _verify(client, noted, as_json=as_json)
            return
        found = list(islice(client.audit(key=key, path=path, since=moment_of(since)), limit))
    if as_json:
        show_json(found)
        return
    show_table(("NUMBER", "WHEN", "TEAM", "KEY", "WHAT", "ANSWER"), _rows(found))


def _verify(client: "StillhouseClient", noted: str | None, *, as_json: bool) -> None:
    found = client.verify_audit(noted=noted)
    if as_json:
        show_json(found)
    else:
        among = ", the noted head among them" if noted is not None and found.whole else ""
        say(
            f"{found.num_entries:,} entries are what was written{among}; {found.num_unanswered} requests have no answer"
        )
        typer.echo(found.head)
    if not found.whole:
        typer.secho(f"the audit log is broken at entry {found.broken_at}: {found.what}", fg="red", err=True)
        raise typer.Exit(exit_codes.OTHER)


def _rows(found: "list[AuditLink]") -> Iterator[Row]:
    """A row for each change: the entry with its answer, or the one without any."""
    answered = set()
    for one in found:
        when = f"{one.at.astimezone():%Y-%m-%d %H:%M:%S}"
        if isinstance(one, ChangeAnswered):
            answered.add(one.asked)
            yield (f"{one.asked or one.number}", when, one.team, one.key, f"{one.method} {one.path}", _answer(one))
        elif isinstance(one, ChangeAsked):
            if one.number not in answered:
                yield (f"{one.number}", when, one.team, one.key, f"{one.method} {one.path}", "none")
        else:
            details = ", ".join(f"{name} {value}" for name, value in sorted(one.details.items()))
            yield (f"{one.number}", when, "-", "-", f"{one.what}: {details}", "-")


def _answer(one: ChangeAnswered) -> str:
    more = f"; {one.left_out} more before it" if one.left_out else ""
    return f"{one.status}{' ' + one.made if one.made else ''}{more}"
