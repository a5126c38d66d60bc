"""The order of rows: seeded, complete, and the same whatever the number of workers."""

import torch

from distill.contracts.datasets import CropFlip, DigitsData, NoAugmentation
from distill.contracts.settings import NodeSettings
from distill.science.datasets import Dataset, load
from distill.science.views import augment
from student_worker.batches import Batch, Cursor, Order, batches, labels_of, order_of

START = Cursor()
EVERYTHING = DigitsData(source="digits")


def an_order(num_rows: int = 10, *, num_steps: int = 3, batch_size: int = 3, seed: int = 0) -> Order:
    return Order(rows=torch.arange(num_rows), num_steps=num_steps, batch_size=batch_size, seed=seed)


def share(dataset: Dataset, order: Order, *, rank: int = 0, world_size: int = 1, start: Cursor = START) -> list[Batch]:
    return list(
        batches(dataset, order, augmentation=NoAugmentation(), epochs=2, start=start, rank=rank, world_size=world_size)
    )


def test_an_epoch_takes_each_row_at_most_once_and_drops_the_short_batch():
    rows = an_order().epoch(0).flatten().tolist()
    assert len(rows) == 9
    assert len(set(rows)) == 9


def test_every_epoch_and_every_seed_has_its_own_order():
    first = an_order().epoch(0)
    assert torch.equal(first, an_order().epoch(0))
    assert not torch.equal(first, an_order().epoch(1))
    assert not torch.equal(first, an_order(seed=1).epoch(0))


def test_few_labels_are_drawn_in_whole_passes_until_the_steps_are_full():
    rows = an_order(4, num_steps=3, batch_size=4).epoch(0)
    assert all(sorted(batch.tolist()) == [0, 1, 2, 3] for batch in rows)


def test_a_job_without_teachers_takes_as_many_steps_from_its_labels_alone(settings: NodeSettings):
    spec = DigitsData.model_validate({"source": "digits", "labels": {"kind": "count", "count": 50}})
    dataset = load(spec, settings)
    order = order_of(dataset, taught=False, batch_size=128, seed=0)
    assert order.num_steps == len(dataset.train_rows) // 128
    assert set(order.epoch(0).flatten().tolist()) == set(dataset.labelled_rows.tolist())


def test_two_ranks_together_see_the_batches_that_one_sees(settings: NodeSettings):
    dataset = load(EVERYTHING, settings)
    order = order_of(dataset, taught=True, batch_size=64, seed=3)
    alone = share(dataset, order)
    first, second = (share(dataset, order, rank=rank, world_size=2) for rank in range(2))
    for whole, left, right in zip(alone, first, second, strict=True):
        assert torch.equal(whole.inputs, torch.cat([left.inputs, right.inputs]))
        assert whole.num_labelled == left.num_labelled == right.num_labelled == int((whole.labels_N >= 0).sum())


def test_a_resumed_run_sees_exactly_the_batches_that_were_left(settings: NodeSettings):
    dataset = load(EVERYTHING, settings)
    order = order_of(dataset, taught=True, batch_size=64, seed=3)
    resumed = share(dataset, order, start=Cursor(epoch=0, step=order.num_steps - 2))
    rest = share(dataset, order)[order.num_steps - 2 :]
    assert len(resumed) == 2 + order.num_steps
    assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(resumed, rest, strict=True))


def test_epoch_e_sees_view_e_modulo_the_number_of_views(settings: NodeSettings):
    dataset = load(EVERYTHING, settings)
    order = Order(rows=torch.arange(8), num_steps=1, batch_size=8, seed=0)
    spec = CropFlip(policy="crop-flip", views=2)
    seen = [
        dict(zip(order.epoch(place)[0].tolist(), batch.inputs, strict=True))
        for place, batch in enumerate(
            batches(dataset, order, augmentation=spec, epochs=3, start=Cursor(), rank=0, world_size=1)
        )
    ]
    assert all(torch.equal(seen[0][row], seen[2][row]) for row in range(8))
    assert any(not torch.equal(seen[0][row], seen[1][row]) for row in range(8))


def test_who_passes_over_few_rows_again_and_again_sees_another_view_each_time(settings: NodeSettings):
    dataset = load(EVERYTHING, settings)
    order = Order(
        rows=torch.arange(6), num_steps=3, batch_size=4, seed=0
    )  # two passes an epoch, the second step in both
    spec = CropFlip(policy="crop-flip", views=4)
    seen = batches(dataset, order, augmentation=spec, epochs=2, start=Cursor(), rank=0, world_size=1)
    shown = torch.cat([batch.inputs for batch in seen])
    rows = torch.cat([order.epoch(0), order.epoch(1)]).flatten()
    for number in range(4):
        of_pass = slice(6 * number, 6 * number + 6)
        expected = augment(dataset.inputs[rows[of_pass]], rows[of_pass], view=number, spec=spec)
        assert torch.equal(shown[of_pass], expected)


def test_labels_that_the_job_may_not_use_are_hidden(settings: NodeSettings):
    spec = DigitsData.model_validate({"source": "digits", "labels": {"kind": "count", "count": 50}})
    usable = labels_of(load(spec, settings))
    assert int((usable >= 0).sum()) == 50
