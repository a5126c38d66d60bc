"""What finished jobs wrote down of themselves: ``result.json``, read from storage."""

import asyncio
from pathlib import Path

from distill.contracts import names
from distill.contracts.errors import Conflict, DependencyDown
from distill.contracts.measures import AttemptResult
from distill.contracts.records import JobRecord


async def read_result(job: JobRecord, storage: Path) -> AttemptResult:
    """The result of a job that succeeded.

    Raises:
        Conflict: it has no result (yet).
        DependencyDown: storage doesn't give it.
    """
    if job.result is None:
        raise Conflict(
            f"job {job.id} is {job.state.value} and has left nothing{'' if job.state.is_final else ' yet'}",
            got=job.state.value,
            expected="SUCCEEDED",
        )
    try:
        return AttemptResult.model_validate_json(await asyncio.to_thread((storage / job.result).read_text))
    except OSError as error:
        raise DependencyDown(f"the result of job {job.id} can't be read from storage: {error.strerror}") from error


def weights_are_gone(job: JobRecord, storage: Path) -> bool:
    """Whether a job left a result, and its artifacts were removed since."""
    folder = storage / names.attempt_folder(job.id, job.attempt)
    return (folder / names.RESULT_FILE).exists() and not (folder / "artifacts").exists()
