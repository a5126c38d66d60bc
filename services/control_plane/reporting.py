"""Reports over REST: a study's is written by the reconciler, a single job's when it is first asked for."""

import asyncio
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse

from distill.contracts import names
from distill.contracts.errors import Conflict, NotFound
from services.control_plane.context import Context
from services.control_plane.problems import documented_file
from services.reports.write import write_job_report

OTHER = "application/octet-stream"
MEDIA_TYPES = {
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}

REPORT_RESPONSES = documented_file(*(media_type.partition(";")[0] for media_type in MEDIA_TYPES.values()), OTHER)


async def report_of_job(parts: Context, job: str, file: str) -> Response:
    """A file of the job's report.

    Raises:
        NotFound: no such job, or no such file in its report.
        Conflict: the job hasn't ended yet.
    """
    record = await parts.store.job(job)
    if not record.state.is_final:
        raise Conflict(
            f"job {job} is {record.state.value}; its report is written when it has ended", got=record.state.value
        )
    folder = parts.settings.node.storage / names.report_folder("job", job)
    if not folder.is_dir():
        await asyncio.to_thread(write_job_report, record, storage=parts.settings.node.storage)
    return _file_of(folder, file)


async def report_of_study(parts: Context, study: str, file: str) -> Response:
    """A file of the study's report. Raises as `report_of_job`."""
    record = await parts.store.study(study)
    if record.report is None:
        raise Conflict(f"study {study} is still going on; its report is written when all its jobs have ended")
    return _file_of(parts.settings.node.storage / record.report, file)


def _file_of(folder: Path, file: str) -> Response:
    names_there = sorted(path.name for path in folder.iterdir())
    if file not in names_there:
        raise NotFound(f"the report has no file {file!r}", got=file, expected="one of " + ", ".join(names_there))
    path = folder / file
    return FileResponse(path, media_type=MEDIA_TYPES.get(path.suffix, OTHER))
