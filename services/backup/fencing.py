"""What a restored job must know that its record doesn't: attempts that began after the backup, a checkpoint that is gone.

An attempt's number names its folder and its Ray job. A record of before knows nothing of attempts that began since;
were their numbers given again, the new attempt would write into the old one's folder, and a worker that still lives
would take the new one's directive for its own. So such numbers are used up, and one more, and nobody has the last.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from distill.contracts import names
from distill.contracts.errors import Interrupted
from distill.contracts.records import Attempt, JobRecord, Outcome, Phase
from services.backup.backup import records_of
from services.backup.keys import Entry


def fence(record: JobRecord, *, newest_folder: int, has_checkpoint: bool, at: datetime) -> JobRecord:
    """The record as a new control plane may go on with it; the same one if there is nothing to say, or it has ended.

    Args:
        record: as it was backed up.
        newest_folder: the highest number of an attempt that storage has a folder of; 0 if none.
        has_checkpoint: the record's checkpoint, if it has one, is on storage.
        at: the present moment.
    """
    if record.state.is_final:
        return record
    if record.checkpoint is not None and not has_checkpoint:
        record = record.model_copy(update={"checkpoint": None})
    if newest_folder <= record.attempt:
        return record
    used_up = tuple(_attempt(number, at) for number in range(record.attempt + 1, newest_folder + 2))
    return record.model_copy(update={"attempts": (*record.attempts, *used_up)})


def fence_all(entries: Sequence[Entry], storage: Path, at: datetime) -> tuple[list[Entry], list[str], list[str]]:
    """The entries with every job fenced, the jobs with new attempts, and those that begin anew for want of a checkpoint."""
    changed: dict[str, str] = {}
    renumbered: list[str] = []
    restarted: list[str] = []
    stored = {entry.key: entry.value for entry in entries}
    for record in records_of(entries, JobRecord):
        key = names.record_key("job", record.id)
        has_checkpoint = record.checkpoint is None or (storage / record.checkpoint.path).is_dir()
        newest = newest_folder(storage / "runs" / record.id)
        fenced = fence(record, newest_folder=newest, has_checkpoint=has_checkpoint, at=at)
        if fenced is record:
            continue
        renumbered += [record.id] if fenced.attempt != record.attempt else []
        restarted += [record.id] if fenced.checkpoint != record.checkpoint else []
        changed[key] = _with(stored[key], fenced)
        changed[names.directive_key(record.id)] = fenced.directive().model_dump_json()
    new = [one.model_copy(update={"value": changed.get(one.key, one.value)}) for one in entries]
    return new, renumbered, restarted


def newest_folder(run: Path) -> int:
    """The highest number of an attempt in a job's folder; 0 if there is none."""
    numbers = [int(path.name) for path in run.iterdir() if path.name.isdigit()] if run.is_dir() else []
    return max(numbers, default=0)


def _attempt(number: int, at: datetime) -> Attempt:
    problem = Interrupted("it began after the backup was made, from which this job was restored").problem()
    phases = {Phase.CLAIMED: at, Phase.LAUNCHED: at}
    return Attempt(number=number, phases=phases, outcome=Outcome.WAITED, problem=problem)


def _with(stored: str, fenced: JobRecord) -> str:
    """The stored JSON with what fencing changes: what we don't know of it stays."""
    content: dict[str, Any] = json.loads(stored)
    new = fenced.model_dump(mode="json", include={"attempts", "checkpoint"})
    content["attempts"] = [*content["attempts"], *new["attempts"][len(content["attempts"]) :]]
    content["checkpoint"] = content["checkpoint"] if new["checkpoint"] else None
    return json.dumps(content)
