"""Which server a client speaks to, and with which key."""

import os
from collections.abc import Mapping
from pathlib import Path

from distill.contracts import credentials
from distill.contracts.errors import DependencyDown
from services.stack.home import StackHome
from services.stack.settings import DEFAULT_PORT, home_folder


def find_server(given: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The URL that was given, else ``STILLHOUSE_URL``, else the stack of this home, else its usual place.

    Raises:
        DependencyDown: the stack of this home is starting, and has no URL yet; or ``STILLHOUSE_HOME`` names a home
            without a stack: another one's would be taken for it.
    """
    if given or environment.get("STILLHOUSE_URL"):
        return (given or environment["STILLHOUSE_URL"]).rstrip("/")
    state = StackHome(home_folder(environment)).read()
    if state is not None and state.url is not None:
        return state.url
    if state is not None and state.up is not None and state.up.find() is not None:
        raise DependencyDown(
            f"the stack of {home_folder(environment)} is not ready yet", hint="`stillhouse up` says 'ready' when it is"
        )
    if environment.get("STILLHOUSE_HOME"):
        raise DependencyDown(
            f"no stack runs on {home_folder(environment)}", hint="`stillhouse up` starts one; --server names another"
        )
    return f"http://127.0.0.1:{DEFAULT_PORT}"


def find_key(url: str, file: Path | None = None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key to show to the server at ``url`` (`distill.contracts.credentials.find_key`)."""
    return credentials.find_key(url, environment, file=file)
