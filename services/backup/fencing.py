"""What restored records must know that they don't say: attempts and versions of after the backup, a checkpoint that is gone.

An attempt's number names its folder and its Ray job. A record of before knows nothing of attempts that began since;
were their numbers given again, the new attempt would write into the old one's folder, and a worker that still lives
would take the new one's directive for its own. So such numbers are used up, and one more, and nobody has the last.

It is the same with the versions of a teacher: the Ray job of a check bears the version's number, and the verdict of the
old one would be taken for the new one's.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from distill.contracts import names
from distill.contracts.errors import Interrupted, Problem
from distill.contracts.records import Attempt, JobRecord, Outcome, Phase
from distill.contracts.teachers import TeacherRecord, TeacherResources, TeacherVersion, TeacherVersionState
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


def fence_teacher(record: TeacherRecord, *, newest_folder: int, at: datetime) -> TeacherRecord:
    """The record with a tombstone for each version that was published after the backup, and one more; else the same one.

    Args:
        record: as it was backed up.
        newest_folder: the highest number of a version that storage has a folder of; 0 if none.
        at: the present moment.
    """
    num_known = len(record.versions)
    if newest_folder <= num_known:
        return record
    used_up = tuple(_tombstone(number, at) for number in range(num_known + 1, newest_folder + 2))
    return record.model_copy(update={"versions": (*record.versions, *used_up)})


def fence_teachers(entries: Sequence[Entry], storage: Path, at: datetime) -> tuple[list[Entry], list[str]]:
    """The entries with every teacher fenced, and the teachers with new tombstones."""
    changed: dict[str, str] = {}
    fenced_names: list[str] = []
    stored = {entry.key: entry.value for entry in entries}
    for record in records_of(entries, TeacherRecord):
        newest = newest_folder(storage / names.teacher_folder(record.name, 1).parent)
        fenced = fence_teacher(record, newest_folder=newest, at=at)
        if fenced is record:
            continue
        key = names.record_key("teacher", record.name)
        content: dict[str, Any] = json.loads(stored[key])
        new = fenced.model_dump(mode="json", include={"versions"})["versions"]
        content["versions"] = [*content["versions"], *new[len(content["versions"]) :]]
        changed[key] = json.dumps(content)
        fenced_names.append(record.name)
    return [one.model_copy(update={"value": changed.get(one.key, one.value)}) for one in entries], fenced_names


def newest_folder(parent: Path) -> int:
    """The highest number of an attempt in a job's folder, or of a version in a teacher's; 0 if there is none."""
    numbers = [int(path.name) for path in parent.iterdir() if path.name.isdigit()] if parent.is_dir() else []
    return max(numbers, default=0)


def _tombstone(number: int, at: datetime) -> TeacherVersion:
    return TeacherVersion(
        version=number, state=TeacherVersionState.DELETED, problem=_of_after("it was published", "this teacher"), members=(),
        resources=TeacherResources(), created_at=at,
    )  # fmt: skip


def _attempt(number: int, at: datetime) -> Attempt:
    problem = _of_after("it began", "this job")
    phases = {Phase.CLAIMED: at, Phase.LAUNCHED: at}
    return Attempt(number=number, phases=phases, outcome=Outcome.WAITED, problem=problem)


def _of_after(how: str, what: str) -> Problem:
    return Interrupted(f"{how} after the backup was made, from which {what} was restored").problem()


def _with(stored: str, fenced: JobRecord) -> str:
    """The stored JSON with what fencing changes: what we don't know of it stays."""
    content: dict[str, Any] = json.loads(stored)
    new = fenced.model_dump(mode="json", include={"attempts", "checkpoint"})
    content["attempts"] = [*content["attempts"], *new["attempts"][len(content["attempts"]) :]]
    content["checkpoint"] = content["checkpoint"] if new["checkpoint"] else None
    return json.dumps(content)
