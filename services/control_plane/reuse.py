"""When two jobs would leave the same student: then a study takes the earlier one for its baseline."""

import hashlib
from pathlib import Path

from distill.contracts.base import digest_of
from distill.contracts.job import JobSpec
from distill.contracts.models import FileWeights, FolderWeights, PluginModel


def reuse_digest(spec: JobSpec, data_root: Path) -> str | None:
    """Of all that decides what a student becomes that labels alone teach.

    That is the job file but for its name, marks, priority, snapshots, and who is told of its end.

    A file of the user's counts with its size and its time of change, as it can be written anew under the same name.

    Returns:
        None where others teach it, or where it reads a folder or runs code of the operator's own: what is in them can't
        be told at a glance.
    """
    if not spec.learns_from_labels_alone or isinstance(spec.student, PluginModel):
        return None
    files = [data_root / path for path in _own_paths(spec)]
    if not all(file.is_file() for file in files):
        return None
    stamps = [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files)]
    # snapshots are taken on the way, and change nothing of what becomes of it
    training = spec.training.model_copy(update={"snapshots": 0})
    silent = {"name": "any", "labels": {}, "priority": 0, "notify": None, "training": training}
    unnamed = digest_of(spec.model_copy(update=silent))
    return "sha256:" + hashlib.sha256(f"{unnamed} {stamps}".encode()).hexdigest()


def _own_paths(spec: JobSpec) -> list[str]:
    start = spec.student.init_from
    weights = [start.path] if isinstance(start, FileWeights | FolderWeights) else []
    return [*spec.dataset.own_paths.values(), *weights]
