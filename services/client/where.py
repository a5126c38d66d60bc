"""Which server a client speaks to."""

import os
from collections.abc import Mapping

from services.stack.home import StackHome
from services.stack.settings import DEFAULT_PORT, home_folder


def find_server(given: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The URL that was given, else ``STILLHOUSE_URL``, else the stack that runs on this machine, else its usual place."""
    if given or environment.get("STILLHOUSE_URL"):
        return (given or environment["STILLHOUSE_URL"]).rstrip("/")
    state = StackHome(home_folder(environment)).read()
    if state is not None and state.url is not None:
        return state.url
    return f"http://127.0.0.1:{DEFAULT_PORT}"
