"""``wire_bytes_per_row``: what really leaves a replica, per row and member: tensors, input hashes and all.

Counted on the serialised reply as Ray sends it: pickle protocol 5, with the tensors' bytes beside it. Replies of two
sizes tell the bytes of a row from those of a header, which a window has once.
"""

import asyncio
from typing import Any

import numpy as np

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.intervals import counted

SIZES = (512, 1024)
MAX_HEADER_BYTES = 1024


def measure(bench: Bench) -> list[Figure]:
    """Ten classes dense, and the ten greatest of a thousand; one member each."""
    return [
        _figure("wire_bytes_per_row.10_classes", num_classes=10, top_k=None, at_most=28),
        _figure("wire_bytes_per_row.10_of_1000", num_classes=1000, top_k=10, at_most=52),
    ]


def _figure(key: str, *, num_classes: int, top_k: int | None, at_most: float) -> Figure:
    small, large = (serialised_bytes(_reply(num_rows, num_classes, top_k)) for num_rows in SIZES)
    row_bytes = (large - small) / (SIZES[1] - SIZES[0])
    header_bytes = small - row_bytes * SIZES[0]
    details = {"header_bytes": header_bytes, "most_header_bytes": MAX_HEADER_BYTES, "rows": SIZES, "members": 1}
    if header_bytes > MAX_HEADER_BYTES:
        raise ValueError(f"a window's header takes {header_bytes:.0f} bytes, and may take {MAX_HEADER_BYTES}")
    return Figure(key, counted(row_bytes), Goal(at_most=at_most), unit="bytes", details=details)


def serialised_bytes(reply: Any) -> int:
    """Of a pickle of protocol 5 with its buffers out of band: what Ray puts on the wire, but for alignment."""
    from ray import cloudpickle

    buffers: list[Any] = []
    packed = cloudpickle.dumps(reply, protocol=5, buffer_callback=buffers.append)
    return len(packed) + sum(buffer.raw().nbytes for buffer in buffers)


def _reply(num_rows: int, num_classes: int, top_k: int | None) -> Any:
    from benchmarks.one_replica import one_replica

    rows = np.random.default_rng(0).integers(0, 256, (num_rows, 1, 28, 28), np.uint8)
    with one_replica(num_classes=num_classes) as replica:
        return asyncio.run(replica.answer({"team": "vision", "job": "fashion-small", "top_k": top_k}, rows))
