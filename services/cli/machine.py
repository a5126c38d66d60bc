"""Commands for the one-machine stack: up, down."""

import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.screen import Json, say, show_json, show_line
from services.stack.settings import DEFAULT_PORT, StackSettings

if TYPE_CHECKING:
    from services.stack.stopping import Say

PANEL = "This machine"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (up, down):
        app.command(rich_help_panel=PANEL)(command)


def up(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the control plane; 0 takes any free one.")
    ] = DEFAULT_PORT,
    num_cpus: Annotated[
        int | None,
        typer.Option(min=1, help="Logical CPUs that Ray may hand out. Left out: those of the machine, at least 2."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start everything on this machine, and stay in the foreground until Ctrl-C.

    Redis (REDIS_URL, else a server found on PATH, else the one that comes along), a Ray head, and the control plane.
    What dies is started again. What a killed `up` left is taken over: its jobs go on.
    State lies in STILLHOUSE_HOME, or ~/.stillhouse; with --json, one line says where, once all is ready.
    """
    from services.cli.signals import stops_once
    from services.stack.stack import Stack

    settings = StackSettings.from_environment()
    with stops_once():
        try:
            with Stack(settings, port=port, num_cpus=num_cpus, say=_timed()) as stack:
                if as_json:
                    show_line({"url": stack.url, "home": str(settings.home)})
                say(
                    f"ready at {stack.url} (documentation: {stack.url}/docs); state in {settings.home}. Ctrl-C stops it."
                )
                threading.Event().wait()
        except KeyboardInterrupt:
            say("stopped; jobs that were running go on from their last checkpoint after the next `stillhouse up`")


def down(as_json: Json = False) -> None:
    """Stop the stack of STILLHOUSE_HOME from another terminal, or clean up what a killed one left."""
    from services.stack.home import StackHome
    from services.stack.stopping import stop_stack

    settings = StackSettings.from_environment()
    stopped = stop_stack(StackHome(settings.home), say=_timed())
    if as_json:
        show_json({"stopped": stopped, "home": str(settings.home)})
    else:
        say("stopped" if stopped else f"no stack runs on {settings.home}")


def _timed() -> "Say":
    begun = time.monotonic()
    return lambda text: say(f"{time.monotonic() - begun:6.1f} s  {text}")
