"""What finished jobs left on storage, and how a file goes out."""

import asyncio
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse

from distill.contracts.errors import NotFound
from distill.contracts.measures import Artifact, Snapshot
from services.control_plane.context import Context
from services.control_plane.results import read_result

ARTIFACT_TYPES = ("application/octet-stream", "application/json", "text/markdown", "application/zip")
"""What rank 0 calls what it leaves (`student_worker.results`)."""


async def list_artifacts(parts: Context, job: str) -> tuple[Artifact, ...]:
    """What the job left. Raises as `read_result`, and NotFound."""
    return (await read_result(await parts.store.job(job), parts.settings.node.storage)).artifacts


async def list_snapshots(parts: Context, job: str) -> tuple[Snapshot, ...]:
    """What the job kept of its way. Raises as `list_artifacts`."""
    return (await read_result(await parts.store.job(job), parts.settings.node.storage)).snapshots


async def find_artifact(parts: Context, job: str, name: str) -> Artifact:
    """The artifact with this name. Raises as `list_artifacts`."""
    artifacts = await list_artifacts(parts, job)
    for artifact in artifacts:
        if artifact.name == name:
            return await _still_there(parts, job, artifact)
    raise NotFound(
        f"job {job} left no artifact {name!r}",
        got=name,
        expected="one of " + ", ".join(artifact.name for artifact in artifacts),
    )


async def _still_there(parts: Context, job: str, artifact: Artifact) -> Artifact:
    if await asyncio.to_thread((parts.settings.node.storage / artifact.path).is_file):
        return artifact
    raise NotFound(
        f"{artifact.name} of job {job} is not on storage any more: it had its time, or somebody removed it",
        got=artifact.name,
        hint="STILLHOUSE_KEEP_ARTIFACTS_DAYS says for how long artifacts are kept (docs/operations.md)",
    )


def send_file(storage: Path, artifact: Artifact, *, if_none_match: str | None) -> Response:
    """The file, with its digest as ETag; ranges are honoured."""
    etag = f'"{artifact.digest}"'
    if if_none_match is not None and etag in {tag.strip() for tag in if_none_match.split(",")}:
        return Response(status_code=304, headers={"ETag": etag})
    return FileResponse(
        storage / artifact.path, media_type=artifact.media_type, filename=artifact.name, headers={"ETag": etag}
    )
