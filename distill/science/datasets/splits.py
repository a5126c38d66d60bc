"""One or two files that a user names, as a training and a test split."""

from collections.abc import Callable
from pathlib import Path

from distill.contracts.datasets import ArrayData, ParquetData, TextData
from distill.science.datasets.paths import inside_root
from distill.science.datasets.raw import Split, check_fits, invalid, split_off_test


def read_splits(
    spec: ArrayData | ParquetData | TextData, root: Path, read: Callable[[Path, str], Split], *, most_bytes: int
) -> tuple[Split, Split, tuple[Path, ...]]:
    """Training split, test split, and the files that they came from, all below ``root``.

    Args:
        spec: names one file, from which a test split is split off, or two.
        root: the data root.
        read: the split of a file, given the place in the job file that errors name.
        most_bytes: what a file may be long.

    Raises:
        InvalidData: a path leads out of the root or to a folder, a file is too long, or ``read`` finds fault with it.
    """
    file = _file(root, spec.train, "dataset.train", most_bytes)
    train = read(file, "dataset.train")
    if spec.test is None:
        return *split_off_test(train), (file,)
    test_file = _file(root, spec.test, "dataset.test", most_bytes)
    return train, read(test_file, "dataset.test"), (file, test_file)


def _file(root: Path, path: str, field: str, most_bytes: int) -> Path:
    file = inside_root(root, path, field=field)
    if not file.is_file():
        raise invalid(field, f"'{file.name}' is not a file", expected="a file", got="a folder")
    check_fits(file.stat().st_size, most_bytes, field=field, what=f"'{file.name}'")
    return file
