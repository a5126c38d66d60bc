"""Commands for API keys: an admin makes them, gives them new secrets, and ends them."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.contracts.base import now
from distill.contracts.errors import Conflict
from distill.contracts.keys import KeyRotation, KeySpec, KeyView, NewKey, hash_of_key, id_of_key, new_key, new_key_id
from services.cli.call import client_of
from services.cli.screen import Json, ago, say, show_json, show_table

if TYPE_CHECKING:
    from services.client.client import StillhouseClient

KeyArgument = Annotated[str, typer.Argument(metavar="ID", help="Of a key: what stands after `sth_`.")]
HOUR_S = 3600

keys = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(keys, name="keys", rich_help_panel="Teams and keys")


@keys.callback()
def about() -> None:
    """API keys of teams: an admin makes them, gives them new secrets, and ends them.

    - `stillhouse keys create nightly-runs --team vision > vision.key` prints the key alone, this once
    - whoever holds it: `export STILLHOUSE_KEY_FILE=vision.key`
    """


@keys.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, or what for.")],
    team: Annotated[str | None, typer.Option(help="Left out: the admin's own.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="`read`, `submit`, `publish` or `admin`; give it several times. Left out: read and submit."),
    ] = None,
    days: Annotated[float | None, typer.Option(min=0, help="It expires after so many. Left out: never.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key, and print it alone on standard output: it is shown this once."""
    from services.cli.files import as_adapter, validated

    fields = {"name": name, "team": team, "expires_at": None if days is None else now() + timedelta(days=days)}
    spec: KeySpec = validated(as_adapter(KeySpec), fields | ({"scopes": scope} if scope else {}), where="key")
    with client_of(context, as_json=as_json) as client:
        _hand_over(client.create_key(spec), as_json=as_json)


@keys.command("list")
def list_all(context: typer.Context, as_json: Json = False) -> None:
    """List every key of every team, without its secret."""
    with client_of(context, as_json=as_json) as client:
        found = client.keys()
    if as_json:
        show_json(found)
        return
    show_table(
        ("ID", "TEAM", "NAME", "SCOPES", "CREATED", "STATE"),
        ((one.id, one.team, one.name, ", ".join(one.scopes), ago(one.created_at), _state(one)) for one in found),
    )


@keys.command()
def rotate(
    context: typer.Context,
    key: KeyArgument,
    overlap_hours: Annotated[float, typer.Option(min=0, help="So long the old secret holds on.")] = 24.0,
    as_json: Json = False,
) -> None:
    """Give a key a new secret, and print the new key alone; that of this machine's own stack is also put in its place."""
    with client_of(context, as_json=as_json) as client:
        made = client.rotate_key(key, KeyRotation(overlap_s=overlap_hours * HOUR_S))
        _keep_if_ours(client, made)
    _hand_over(made, as_json=as_json)


@keys.command()
def revoke(context: typer.Context, key: KeyArgument, as_json: Json = False) -> None:
    """End a key: within a second nobody takes it any more."""
    with client_of(context, as_json=as_json) as client:
        ended = client.revoke_key(key)
    if as_json:
        show_json(ended)
    else:
        say(f"the key {ended.id} of team {ended.team} is revoked")


@keys.command()
def first(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the key is put, for its owner alone.")],
    as_json: Json = False,
) -> None:
    """Make the operator's first key without a server; prints what STILLHOUSE_ADMIN_KEY_HASH of the control plane is to be.

    `stillhouse up` needs none of this: it makes its own.
    """
    from services.stack.home import write_secret

    if file.exists():
        raise Conflict(f"{file} is there already, and is left as it is", got=str(file))
    key = new_key(new_key_id())
    write_secret(file, key)
    if as_json:
        show_json({"file": str(file), "hash": str(hash_of_key(key))})
    else:
        typer.echo(str(hash_of_key(key)))


def _hand_over(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        show_json(made)
        return
    say(f"key {made.record.id} of team {made.record.team}: {', '.join(made.record.scopes)}; it is shown this once")
    typer.echo(made.key)


def _keep_if_ours(client: "StillhouseClient", made: NewKey) -> None:
    """Put the new key where the old one lies, if it is this machine's own stack's: it is used without being asked."""
    from services.client.where import find_server
    from services.stack.home import StackHome, write_secret
    from services.stack.settings import home_folder

    home = StackHome(home_folder())
    is_ours = home.key.is_file() and id_of_key(home.admin_key()) == made.record.id
    state = home.read()
    if is_ours and state is not None and state.url == find_server(client.url):
        write_secret(home.key, made.key)
        say(f"{home.key} holds the new one")


def _state(key: KeyView) -> str:
    if key.revoked_at is not None:
        return f"revoked {ago(key.revoked_at)}"
    if key.expires_at is None:
        return "holds"
    return f"holds until {key.expires_at:%Y-%m-%d %H:%M}" if key.lives(now()) else "expired"
