"""When two jobs would leave the same student: then a study takes the earlier one for its baseline."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from distill.contracts.base import digest_of
from distill.contracts.datasets import ArrayData, ImageFolderData, ParquetData
from distill.contracts.job import JobSpec
from distill.contracts.models import FileWeights, FolderWeights


def reuse_digest(spec: JobSpec, data_root: Path) -> str | None:
    """Of all that decides what a student becomes that labels alone teach: the job file but for its name, marks and snapshots.

    A file of the user's counts with its size and its time of change, as it can be written anew under the same name.

    Returns:
        None where others teach it, or where it reads a folder, whose content can't be told at a glance.
    """
    files = [data_root / path for path in _own_files(spec)]
    if not spec.learns_from_labels_alone or not all(file.is_file() for file in files):
        return None
    stamps = [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files)]
    # snapshots are taken on the way, and change nothing of what becomes of it
    training = spec.training.model_copy(update={"snapshots": 0})
    unnamed = digest_of(spec.model_copy(update={"name": "any", "labels": {}, "training": training}))
    return "sha256:" + hashlib.sha256(f"{unnamed} {stamps}".encode()).hexdigest()


def _own_files(spec: JobSpec) -> Iterator[str]:
    data, start = spec.dataset, spec.student.init_from
    if isinstance(data, ArrayData | ImageFolderData | ParquetData):
        yield from (path for path in (data.train, data.test) if path is not None)
    if isinstance(start, FileWeights | FolderWeights):
        yield start.path
