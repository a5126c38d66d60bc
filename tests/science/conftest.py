"""What science tests share: one thread, a fixed seed, and a node whose folders are the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from distill.contracts.models import ImageInput
from distill.contracts.settings import NodeSettings


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    (tmp_path / "data").mkdir()
    return NodeSettings(
        redis_url="redis://nowhere", storage=tmp_path, data_root=tmp_path / "data", cache=tmp_path / "cache"
    )


@pytest.fixture
def digit_input() -> ImageInput:
    return ImageInput(channels=1, height=8, width=8, mean=(0.3,), std=(0.4,))
