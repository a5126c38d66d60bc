"""What finished jobs left on storage, and how a file goes out."""

import asyncio
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse

from distill.contracts.errors import Conflict, DependencyDown, NotFound
from distill.contracts.measures import Artifact, AttemptResult
from services.control_plane.context import Context


async def read_result(parts: Context, job: str) -> AttemptResult:
    """The result of a job that succeeded.

    Raises:
        NotFound: there is no such job.
        Conflict: it has no result (yet).
    """
    record = await parts.store.job(job)
    if record.result is None:
        raise Conflict(
            f"job {job} is {record.state.value} and has left nothing{'' if record.state.is_final else ' yet'}",
            got=record.state.value,
            expected="SUCCEEDED",
        )
    path = parts.settings.node.storage / record.result
    try:
        return AttemptResult.model_validate_json(await asyncio.to_thread(path.read_text))
    except OSError as error:
        raise DependencyDown(f"the result of job {job} can't be read from storage: {error.strerror}") from error


async def list_artifacts(parts: Context, job: str) -> tuple[Artifact, ...]:
    """What the job left. Raises as `read_result`."""
    return (await read_result(parts, job)).artifacts


async def find_artifact(parts: Context, job: str, name: str) -> Artifact:
    """The artifact with this name. Raises as `read_result`, and NotFound."""
    artifacts = await list_artifacts(parts, job)
    for artifact in artifacts:
        if artifact.name == name:
            return artifact
    raise NotFound(
        f"job {job} left no artifact {name!r}",
        got=name,
        expected="one of " + ", ".join(artifact.name for artifact in artifacts),
    )


def send_file(storage: Path, artifact: Artifact, *, if_none_match: str | None) -> Response:
    """The file, with its digest as ETag; ranges are honoured."""
    etag = f'"{artifact.digest}"'
    if if_none_match is not None and etag in {tag.strip() for tag in if_none_match.split(",")}:
        return Response(status_code=304, headers={"ETag": etag})
    return FileResponse(
        storage / artifact.path, media_type=artifact.media_type, filename=artifact.name, headers={"ETag": etag}
    )
