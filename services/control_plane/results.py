"""What finished jobs wrote down of themselves: ``result.json``, read from storage."""

import asyncio
from pathlib import Path

from distill.contracts import names
from distill.contracts.errors import Conflict, DependencyDown
from distill.contracts.measures import AttemptResult
from distill.contracts.records import JobRecord
from distill.contracts.teachers import CheckedMember


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


async def check_weights(job: JobRecord, member: CheckedMember, storage: Path, field: str) -> None:
    """See that the weights that a job left are there still.

    Raises:
        Conflict: it left a result, and these weights were removed since.
    """
    result = storage / names.attempt_folder(job.id, job.attempt) / names.RESULT_FILE
    if await asyncio.to_thread(lambda: result.exists() and not (storage / str(member.folder)).exists()):
        raise Conflict(
            f"{field}: the weights of job {job.id} are not on storage any more: they had their time",
            field=field,
            got=job.id,
            hint="STILLHOUSE_KEEP_ARTIFACTS_DAYS says for how long artifacts are kept (docs/operations.md)",
        )
