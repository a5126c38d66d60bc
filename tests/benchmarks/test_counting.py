"""What is counted rather than timed: bytes of a reply, and the net whose cost is nearest to what is wanted."""

import numpy as np

from benchmarks.costs import Priced, nearest
from benchmarks.wire import serialised_bytes
from distill.contracts.models import ZooArgs, ZooModel


def test_a_tensors_bytes_count_once_beside_a_small_frame():
    tensor = np.zeros((1000, 1, 10), np.float16)
    assert 20_000 < serialised_bytes(({"request_id": "r"}, {"logits": tensor})) < 20_500


def test_the_nearest_net_is_nearest_as_a_factor():
    ladder = [Priced(ZooModel(name="cnn", args=ZooArgs(width=width)), cost) for width, cost in ((8, 10.0), (16, 90.0))]
    assert nearest(ladder, 40.0).row_us == 90.0  # 2.25 times as dear, the other a quarter of it
    assert nearest(ladder, 20.0).row_us == 10.0
