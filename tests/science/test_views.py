"""Views are the same for ever, and are crops and mirrors of the image."""

import pytest
import torch
from torch.nn import functional

from distill.contracts.datasets import CropFlip, NoAugmentation
from distill.science.views import augment, crop_padding, random_numbers

CROP_FLIP = CropFlip(policy="crop-flip")
MASK = (1 << 64) - 1


def splitmix64(state: int) -> int:
    """As its authors publish it, in Python's unbounded integers."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def by_hand(image: torch.Tensor, row: int, view: int, spec: CropFlip) -> torch.Tensor:
    """One row's view: pad, slice, mirror."""
    _, height, width = image.shape
    padding = crop_padding(height, width)
    top, left, mirror = (
        int(random_numbers(torch.tensor([row]), view=view, seed=spec.seed, draw=draw)) for draw in range(3)
    )
    top, left = top % (2 * padding + 1), left % (2 * padding + 1)
    crop = functional.pad(image, (padding,) * 4)[:, top : top + height, left : left + width]
    return crop.flip(2) if spec.flip and mirror % 2 else crop


def test_the_hash_is_splitmix64_of_seed_view_draw_and_row():
    rows = torch.tensor([0, 1, 59_999, 2**40])

    hashed = random_numbers(rows, view=3, seed=7, draw=1)

    chained = splitmix64(splitmix64(splitmix64(7) + 3) + 1)
    assert hashed.tolist() == [splitmix64((chained + row) & MASK) & 0xFFFFFFFF for row in rows.tolist()]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 12)])
@pytest.mark.parametrize("flip", [True, False])
def test_a_view_pads_crops_and_mirrors_as_its_numbers_say(shape, flip):
    images, spec = torch.randint(0, 256, (40, *shape), dtype=torch.uint8), CropFlip(policy="crop-flip", flip=flip)
    rows = torch.arange(100, 140)

    seen = augment(images, rows, view=2, spec=spec)

    expected = [by_hand(image, row, 2, spec) for image, row in zip(images, rows.tolist(), strict=True)]
    assert torch.equal(seen, torch.stack(expected))


def test_a_row_looks_the_same_whatever_its_batch():
    images, rows = torch.randint(0, 256, (16, 1, 28, 28), dtype=torch.uint8), torch.arange(16)

    whole, part = (augment(images[s], rows[s], view=1, spec=CROP_FLIP) for s in (slice(None), slice(9, 10)))

    assert torch.equal(whole[9:10], part)


def test_views_and_seeds_differ():
    images, rows = torch.randint(0, 256, (16, 1, 28, 28), dtype=torch.uint8), torch.arange(16)
    first = augment(images, rows, view=0, spec=CROP_FLIP)

    assert not torch.equal(first, augment(images, rows, view=1, spec=CROP_FLIP))
    assert not torch.equal(first, augment(images, rows, view=0, spec=CropFlip(policy="crop-flip", seed=1)))


def test_shifts_and_mirrors_are_evenly_spread():
    rows = torch.arange(70_000)

    shifts = (random_numbers(rows, view=0, seed=0, draw=0) % 7).bincount() / len(rows)
    mirrored = (random_numbers(rows, view=0, seed=0, draw=2) % 2).double().mean()

    # five standard deviations of a fair draw
    assert shifts.tolist() == pytest.approx([1 / 7] * 7, abs=5 * (6 / 49 / 70_000) ** 0.5)
    assert mirrored == pytest.approx(0.5, abs=5 * 0.5 / 70_000**0.5)


def test_no_augmentation_is_the_very_same_tensor():
    vectors = torch.randn(3, 5)

    assert augment(vectors, torch.arange(3), view=0, spec=NoAugmentation()) is vectors


def test_what_is_no_image_can_not_be_cropped():
    with pytest.raises(ValueError, match="uint8 images"):
        augment(torch.randn(3, 5), torch.arange(3), view=0, spec=CROP_FLIP)
