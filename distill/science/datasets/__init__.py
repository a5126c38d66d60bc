"""Data sets: from the job file's section to tensors, row numbers and facts.

Shapes: N rows of the training split, C channels, H height, W width, F features, L tokens.
"""

from dataclasses import dataclass

from torch import Tensor

from distill.contracts.datasets import (
    ArrayData,
    DatasetFacts,
    DatasetSpec,
    DigitsData,
    FashionMnistData,
    ImageFolderData,
    ParquetData,
    TabularData,
)
from distill.contracts.errors import InvalidSpec
from distill.contracts.job import TrainingSpec
from distill.contracts.models import InputSpec
from distill.contracts.settings import NodeSettings
from distill.science.datasets.arrays import load_arrays
from distill.science.datasets.digest import dataset_digest
from distill.science.datasets.digits import load_digits
from distill.science.datasets.fashion_mnist import load_fashion_mnist
from distill.science.datasets.image_folder import load_image_folder
from distill.science.datasets.parquet import load_parquet
from distill.science.datasets.raw import Raw, checked_raw
from distill.science.datasets.selection import select_rows
from distill.science.datasets.statistics import input_spec
from distill.science.datasets.tabular import load_tabular
from distill.science.datasets.text import load_text

__all__ = ["Dataset", "check_batch", "check_labels", "load"]


@dataclass(frozen=True)
class Dataset:
    """A job's data on the CPU; row numbers are places in ``inputs``, int64, in rising order."""

    inputs: Tensor
    """The whole training split as loaded: uint8 (N, C, H, W), float32 (N, F) or int64 (N, L)."""
    labels: Tensor
    """Every label that the source has, (N,) int64, -1 where it has none; use only those of ``labelled_rows``."""
    test_inputs: Tensor
    test_labels: Tensor
    """Class numbers, int64, none missing."""
    train_rows: Tensor
    """May be trained on."""
    labelled_rows: Tensor
    """The part of ``train_rows`` whose labels may be used."""
    validation_rows: Tensor
    """Held back from everyone."""
    input: InputSpec
    """What a row looks like, with the mean and spread of ``train_rows``."""
    facts: DatasetFacts


def load(spec: DatasetSpec, settings: NodeSettings) -> Dataset:
    """Read a data set and choose the rows that the job file asks for.

    Raises:
        InvalidData: it can't be read, isn't what the job file says, or has too few rows or labels.
    """
    raw = checked_raw(_read(spec, settings))
    selection = select_rows(raw.train.labels, rows=spec.rows, validation=spec.validation, labels=spec.labels)
    num_rows = len(raw.train.labels)
    return Dataset(
        inputs=raw.train.inputs,
        labels=raw.train.labels,
        test_inputs=raw.test.inputs,
        test_labels=raw.test.labels,
        train_rows=selection.train_rows,
        labelled_rows=selection.labelled_rows,
        validation_rows=selection.validation_rows,
        input=raw.tokens or input_spec(raw.train.inputs, raw.test.inputs, selection.train_rows),
        facts=DatasetFacts(
            source=spec.source,
            digest=dataset_digest(raw, settings.cache),
            num_rows=num_rows,
            rows_start=spec.rows.start,
            rows_stop=num_rows if spec.rows.stop is None else spec.rows.stop,
            num_train=len(selection.train_rows),
            num_labelled=len(selection.labelled_rows),
            num_validation=len(selection.validation_rows),
            num_test=len(raw.test.labels),
            classes=raw.classes,
        ),
    )


def check_batch(facts: DatasetFacts, training: TrainingSpec) -> None:
    """Refuse a batch that the training rows can't fill once.

    Raises:
        InvalidSpec: naming ``training.batch_size``.
    """
    if training.batch_size > facts.num_train:
        raise InvalidSpec(
            f"training.batch_size: {training.batch_size} is larger than the data, "
            f"of which {facts.num_train} rows may be trained on",
            field="training.batch_size",
            expected=f"at most {facts.num_train}",
            got=str(training.batch_size),
        )


def check_labels(facts: DatasetFacts, *, has_teachers: bool) -> None:
    """Refuse a job that has nothing to learn from.

    Raises:
        InvalidSpec: there are neither teachers nor labels.
    """
    if not has_teachers and not facts.num_labelled:
        raise InvalidSpec(
            "dataset.labels: without teachers the student needs labels, and this data has none",
            field="dataset.labels",
            expected="labels, or a teacher",
            got="0 labels",
        )


def _read(spec: DatasetSpec, settings: NodeSettings) -> Raw:
    if isinstance(spec, FashionMnistData):
        return load_fashion_mnist(settings)
    if isinstance(spec, DigitsData):
        return load_digits()
    if isinstance(spec, TabularData):
        return load_tabular(spec)
    if isinstance(spec, ArrayData):
        return load_arrays(spec, settings.data_root, most_bytes=settings.dataset_bytes)
    if isinstance(spec, ImageFolderData):
        return load_image_folder(spec, settings.data_root, most_bytes=settings.dataset_bytes)
    if isinstance(spec, ParquetData):
        return load_parquet(spec, settings.data_root, most_bytes=settings.dataset_bytes)
    return load_text(spec, settings.data_root, most_bytes=settings.dataset_bytes)
