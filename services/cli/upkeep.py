"""Commands for whoever runs the service: what has had its time goes, and what must not be lost is kept elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from distill.contracts.errors import DependencyDown
from services.cli.call import Call, client_of
from services.cli.screen import Json, say, show_json, show_table

PANEL = "Upkeep"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for name, command in (("gc", collect), ("backup", backup), ("restore", restore)):
        app.command(name, rich_help_panel=PANEL)(command)


def collect(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove events, logs, checkpoints, artifacts, answers and orphaned folders that have had their time.

    STILLHOUSE_KEEP_LOGS_DAYS and its like say how long that is. The control plane does this once an hour by itself.
    Nothing goes that something refers to.
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
    if done.audit_moved:
        say(f"{'would move' if dry_run else 'moved'} to files: {done.audit_moved:,} entries of the audit log")
    if done.orphans:
        say(f"folders that no record knows, and that go later: {', '.join(sorted(done.orphans))}")


def backup(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder; it must not be there yet.")],
    files: Annotated[
        bool, typer.Option("--files", help="The files too, and not only their names and digests.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy everything that Redis holds, of one moment, while the service goes on: `stillhouse backup /safe/monday`.

    Redis and storage are those of STILLHOUSE_REDIS_URL and STILLHOUSE_STORAGE, else of this machine's stack. The folder
    holds what API keys are checked by: keep it as you keep Redis.
    """
    from services.backup.backup import make_backup
    from services.backup.where import redis_and_storage

    with _told(context, as_json), redis_and_storage() as (redis_url, storage):
        made = make_backup(redis_url, storage, target, with_files=files)
    if as_json:
        show_json({"target": str(target), "num_keys": made.num_keys, "num_files": len(made.files),
                   "files_bytes": made.files_bytes, "has_files": made.has_files})  # fmt: skip
        return
    verb = "copied" if made.has_files else "named, with their digests"
    say(f"{target}: {made.num_keys:,} keys; {len(made.files):,} files of {made.files_bytes:,} bytes {verb}")


def restore(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `stillhouse backup` wrote.")],
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Go on where files are missing or changed on storage.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a backup into an empty Redis: `stillhouse restore /safe/monday`, before the control plane starts on it.

    Everything is verified first. What broke off goes on when the same command is run again.
    """
    from services.backup.restore import restore as put_back
    from services.backup.where import redis_and_storage

    with _told(context, as_json), redis_and_storage() as (redis_url, storage):
        done = put_back(source, redis_url, storage, may_be_incomplete=incomplete)
    if as_json:
        show_json(done)
        return
    say(f"restored: {done.num_keys:,} keys, {done.num_files:,} files")
    for what, which in (
        ("began an attempt after the backup, and go on with a higher number", done.renumbered),
        ("begin anew, as their checkpoint is gone", done.restarted),
        ("had a version published after the backup, which has to be published again", done.republish),
        ("on storage", done.missing),
    ):
        if which:
            say(f"{what}: {', '.join(which)}")


@contextmanager
def _told(context: typer.Context, as_json: bool) -> Iterator[None]:
    """What Redis or the disk raises, as an error of ours."""
    from redis.exceptions import RedisError

    context.ensure_object(Call).as_json = as_json
    try:
        yield
    except RedisError as error:
        raise DependencyDown(f"Redis doesn't answer: {error}", hint="run the same command again") from error
    except OSError as error:
        raise DependencyDown(f"a file can't be read or written: {error}", hint="run the same command again") from error
