"""Fetching an artifact: in pieces that a broken connection doesn't lose, and checked before it gets its name."""

import hashlib
from pathlib import Path

import httpx

from distill.contracts.errors import DependencyDown, StillhouseError
from distill.contracts.measures import Artifact
from services.client.wire import Wire, error_of

TRIES = 5


def download(wire: Wire, path: str, artifact: Artifact, folder: Path) -> Path:
    """Fetch ``artifact`` into ``folder``; a part that an earlier try left is gone on with.

    Raises:
        DependencyDown: the connection broke again and again.
        StillhouseError: what came has another digest.
    """
    target = folder / Path(artifact.name).name
    if target.is_file() and _digest(target) == artifact.digest:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{artifact.digest.removeprefix('sha256:')[:12]}.part")
    for attempt in range(1, TRIES + 1):
        try:
            _fetch(wire, path, artifact, part)
            break
        except DependencyDown:
            if attempt == TRIES:
                raise
    came = _digest(part)
    if came != artifact.digest:
        part.unlink()
        raise StillhouseError(
            f"{artifact.name} arrived damaged and was thrown away; try again", expected=artifact.digest, got=came
        )
    return part.replace(target)


def _fetch(wire: Wire, path: str, artifact: Artifact, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= artifact.size_bytes > 0:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": f'"{artifact.digest}"'} if have else {}
    with wire.mapped(), wire.http.stream("GET", path, headers=headers) as response:
        if not response.is_success:
            response.read()
            raise error_of(response)
        mode = "ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb"
        with part.open(mode) as file:
            for chunk in response.iter_bytes():  # as it comes: what is held back would be lost with the connection
                file.write(chunk)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
