"""Commands for whoever runs the service: what has had its time goes, and what must not be lost is kept elsewhere."""

from typing import Annotated

import typer

from services.cli.call import client_of
from services.cli.screen import Json, say, show_json, show_table

PANEL = "Upkeep"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("gc", rich_help_panel=PANEL)(collect)


def collect(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove events, logs, checkpoints, artifacts, answers and orphaned folders that have had their time.

    STILLHOUSE_KEEP_*_DAYS say how long that is. The control plane does this once an hour by itself. Nothing goes that
    something refers to.
    """
    with client_of(context, as_json=as_json) as client:
        done = client.collect_garbage(dry_run=dry_run)
    if as_json:
        show_json(done)
        return
    if done.removed:
        rows = ((one.sort.value, f"{one.size_bytes:,}", one.where, one.why) for one in done.removed)
        show_table(("SORT", "BYTES", "WHERE", "WHY"), rows)
    verb = "would go" if dry_run else "removed"
    say(f"{verb}: {len(done.removed)} things, {done.freed_bytes:,} bytes")
    if done.orphans:
        say(f"folders that no record knows, and that go later: {', '.join(sorted(done.orphans))}")
