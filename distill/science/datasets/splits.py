"""One or two files that a user names, as a training and a test split."""

from collections.abc import Callable
from pathlib import Path

from distill.contracts.datasets import ArrayData, ParquetData, TextData
from distill.science.datasets.paths import inside_root
from distill.science.datasets.raw import Split, split_off_test


def read_splits(
    spec: ArrayData | ParquetData | TextData, root: Path, read: Callable[[Path, str], Split]
) -> tuple[Split, Split, tuple[Path, ...]]:
    """Training split, test split, and the files that they came from, all below ``root``.

    Args:
        spec: names one file, from which a test split is split off, or two.
        root: the data root.
        read: the split of a file, given the place in the job file that errors name.

    Raises:
        InvalidData: a path leads out of the root, or ``read`` finds fault with its file.
    """
    file = inside_root(root, spec.train, field="dataset.train")
    train = read(file, "dataset.train")
    if spec.test is None:
        return *split_off_test(train), (file,)
    test_file = inside_root(root, spec.test, field="dataset.test")
    return train, read(test_file, "dataset.test"), (file, test_file)
