"""Which rows each step sees: a seeded order that is the same whatever the number of workers.

Shapes: B rows of the global batch, S steps, N rows of one rank's share.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.contracts.datasets import Augmentation, CropFlip
from distill.science.datasets import Dataset
from distill.science.seeds import mixed_seed
from distill.science.views import augment


@dataclass(frozen=True)
class Cursor:
    """Where a training stands: ``step`` steps of epoch ``epoch`` are done, both counted from 0."""

    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Batch:
    """One rank's share of one step."""

    cursor: Cursor
    """Of the training before this step."""
    inputs: Tensor
    """Raw, after augmentation: what student and teacher see, (N, ...)."""
    labels_N: Tensor  # noqa: N815
    """int64, -1 where the row has no label that may be used."""
    num_labelled: int
    """Labelled rows of the whole global batch, over all ranks."""
    places_N: Tensor  # noqa: N815
    """int64, one number for each row in each view: equal places have equal inputs."""


@dataclass(frozen=True)
class Order:
    """The order of rows over all epochs: a pure function of the seed."""

    rows: Tensor
    """Rows to draw from, int64."""
    num_steps: int
    """Of one epoch."""
    batch_size: int
    """B, over all ranks."""
    seed: int

    def epoch(self, epoch: int) -> Tensor:
        """Row numbers of each step, (S, B) int64; passes over the rows follow each other until the steps are full."""
        wanted = self.num_steps * self.batch_size
        passes = [self._pass(epoch, place) for place in range(self._passes_per_epoch)]
        return torch.cat(passes)[:wanted].reshape(self.num_steps, self.batch_size)

    def passes(self, epoch: int) -> Tensor:
        """Which pass over the rows each place of the epoch belongs to, counted from the first epoch on, (S, B) int64."""
        places = torch.arange(self.num_steps * self.batch_size) // len(self.rows)
        return (epoch * self._passes_per_epoch + places).reshape(self.num_steps, self.batch_size)

    @property
    def _passes_per_epoch(self) -> int:
        return -(-self.num_steps * self.batch_size // len(self.rows))

    def _pass(self, epoch: int, place: int) -> Tensor:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, epoch, place))
        return self.rows[torch.randperm(len(self.rows), generator=generator)]


def order_of(dataset: Dataset, *, taught: bool, batch_size: int, seed: int) -> Order:
    """The order of a job: all training rows where teachers answer, else the labelled ones in as many steps."""
    rows = dataset.train_rows if taught else dataset.labelled_rows
    return Order(rows=rows, num_steps=len(dataset.train_rows) // batch_size, batch_size=batch_size, seed=seed)


def batches(
    dataset: Dataset,
    order: Order,
    *,
    augmentation: Augmentation,
    epochs: int,
    start: Cursor,
    rank: int,
    world_size: int,
) -> Iterator[Batch]:
    """One rank's batches from ``start`` to the last step: rank r takes the r-th slice of each global batch.

    Pass p over the rows shows them in view p mod ``views``. With teachers an epoch is one pass; who learns from few
    labels alone makes several, and so sees as many views.
    """
    usable_labels = labels_of(dataset)
    num_views = num_views_of(augmentation)
    for epoch in range(start.epoch, epochs):
        rows_SB, views_SB = order.epoch(epoch), order.passes(epoch) % num_views
        for step in range(start.step if epoch == start.epoch else 0, order.num_steps):
            rows_N, view_N = (of_SB[step].chunk(world_size)[rank] for of_SB in (rows_SB, views_SB))
            yield Batch(
                cursor=Cursor(epoch, step),
                inputs=augment(dataset.inputs[rows_N], rows_N, view=view_N, spec=augmentation),
                labels_N=usable_labels[rows_N],
                num_labelled=int((usable_labels[rows_SB[step]] >= 0).sum()),
                places_N=view_N * len(dataset.inputs) + rows_N,
            )


def num_places(dataset: Dataset, augmentation: Augmentation) -> int:
    """How many places there are: rows of the data times views."""
    return len(dataset.inputs) * num_views_of(augmentation)


def num_views_of(augmentation: Augmentation) -> int:
    """How many views of each row there are; 1 without augmentation."""
    return augmentation.views if isinstance(augmentation, CropFlip) else 1


def labels_of(dataset: Dataset) -> Tensor:
    """Labels of all rows, -1 where the job may not use them."""
    usable = torch.full_like(dataset.labels, -1)
    usable[dataset.labelled_rows] = dataset.labels[dataset.labelled_rows]
    return usable
