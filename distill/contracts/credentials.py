"""Where a client's API key comes from: the environment, a file, or the state folder of this machine's own stack."""

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from distill.contracts.errors import InvalidSpec, NotAuthenticated
from distill.contracts.keys import id_of_key

STACK_FILE, KEY_FILE = "stack.json", "admin-key"
"""In the state folder: where the stack answers, and its operator's key, which the owner alone may read."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def home_folder(environment: Mapping[str, str]) -> Path:
    """``STILLHOUSE_HOME``, or ``~/.stillhouse``."""
    named = environment.get("STILLHOUSE_HOME")
    return Path(named).expanduser().absolute() if named else Path.home() / ".stillhouse"


def find_key(url: str, environment: Mapping[str, str], *, file: Path | None = None) -> str | None:
    """The key to show to the server at ``url``; None where there is none.

    It is that of ``file``, else of ``STILLHOUSE_KEY``, else of the file that ``STILLHOUSE_KEY_FILE`` names, else the state
    folder's, which is shown to this machine's own stack and to nobody else.

    Raises:
        InvalidSpec: a file that was named can't be read, or there is no key in it.
    """
    if file is not None:
        return read_key(file)
    if key := environment.get("STILLHOUSE_KEY", "").strip():
        return checked(key, "STILLHOUSE_KEY")
    if named := environment.get("STILLHOUSE_KEY_FILE"):
        return read_key(Path(named).expanduser())
    home = home_folder(environment)
    if (home / KEY_FILE).is_file() and is_same_server(url, url_of_stack(home)):
        return read_key(home / KEY_FILE)
    return None


def read_key(file: Path) -> str:
    """The key in a file, which holds nothing else. Raises InvalidSpec."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"the key file {file} can't be read: {error}", field="key-file", got=str(file)) from error
    return checked(text.strip(), str(file))


def checked(key: str, where: str) -> str:
    """``key``, if it is one. Raises InvalidSpec, which doesn't repeat it."""
    try:
        id_of_key(key)
    except NotAuthenticated as error:
        raise InvalidSpec(f"{where}: {error}", field=where, **error.details) from error
    return key


def is_same_server(one: str, other: str | None) -> bool:
    """Whether both URLs are of one server, as far as names tell."""
    return other is not None and _place(one) == _place(other)


def _place(url: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(url)
        host = "localhost" if parts.hostname in LOOPBACK else parts.hostname or ""
        port = parts.port
    except ValueError:  # such as of a port
        return None
    return parts.scheme, host, port


def url_of_stack(home: Path) -> str | None:
    """Where the stack of this state folder answers; None where none runs, or its URL can't be read."""
    try:
        found = json.loads((home / STACK_FILE).read_bytes()).get("url")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None
