"""A replica's inside in this process: the real answering, queue and device threads around a small ensemble."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.accelerator import Accelerator
from distill.contracts.models import ImageInput, ZooArgs, ZooModel
from distill.science.models import Classifier, build
from teacher_server.answering import Answering
from teacher_server.batching import Batcher
from teacher_server.launched import Launched
from teacher_server.memory import NoMemory
from teacher_server.runner import Ensemble

IMAGE = ImageInput(channels=1, height=28, width=28, mean=(0.5,), std=(0.25,))
DIGEST = "sha256:" + "0" * 64
NET = ZooModel(name="cnn", args=ZooArgs(width=12))


class Tally:
    """Counts in place of the meter that tells Redis: rows answered, by team."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()

    def answered(self, team: str, *, computed_rows: int, recalled_rows: int, device_s: float) -> None:
        """A window was answered."""
        self.rows[team] += computed_rows

    def refused(self, team: str) -> None:
        """A window was refused, which no measurement here expects."""
        raise RuntimeError(f"a window of team {team} was refused")


class OneReplica:
    """Answers windows; notes how many rows each device batch had."""

    def __init__(self, net: nn.Module, *, num_classes: int, batch_rows: int) -> None:
        self.tally = Tally()
        self.batches: list[int] = []
        ensemble = _Noting(net, num_classes=num_classes, batch_rows=batch_rows, note=self.batches)
        self.batcher = Batcher(ensemble, teacher="small@1", threads=1)
        self._answering = Answering(
            ensemble, self.batcher, NoMemory(), self.tally, teacher="small@1", digest=DIGEST, compute="fp32"
        )
        self._numbers = itertools.count()

    async def answer(
        self, header: Mapping[str, Any], inputs: np.ndarray[Any, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The reply to one window."""
        whole = {"request_id": f"{next(self._numbers):032x}", "num_rows": len(inputs), "remember": False, **header}
        return await self._answering.answer(whole, {"inputs": inputs})

    async def keep_asking(
        self, header: Mapping[str, Any], *, num_rows: int, in_flight: int, until: asyncio.Event
    ) -> None:
        """As a student does whom nothing else keeps: windows collected in order, so many under way."""
        rows = np.random.default_rng(0).integers(0, 256, (num_rows, 1, 28, 28), np.uint8)
        asked = [asyncio.ensure_future(self.answer(header, rows)) for _ in range(in_flight)]
        while not until.is_set():
            await asked.pop(0)
            asked.append(asyncio.ensure_future(self.answer(header, rows)))
        await asyncio.gather(*asked)


@contextmanager
def one_replica(*, num_classes: int = 10, batch_rows: int = 1024, row_us: float | None = None) -> Iterator[OneReplica]:
    """A replica of a small convolutional net; with ``row_us``, of a device that takes so long for a row."""
    if row_us is None:
        torch.manual_seed(0)
        net: nn.Module = build(NET, input=IMAGE, num_classes=num_classes)
    else:
        net = Classifier(Accelerator(num_classes, row_us=row_us, note_to=None), input=IMAGE)
    replica = OneReplica(net, num_classes=num_classes, batch_rows=batch_rows)
    try:
        yield replica
    finally:
        replica.batcher.close()


class _Noting(Ensemble):
    def __init__(self, net: nn.Module, *, num_classes: int, batch_rows: int, note: list[int]) -> None:
        super().__init__(
            [net],  # type: ignore[list-item]
            input=IMAGE,
            num_classes=num_classes,
            taps=[{}],
            device=torch.device("cpu"),
            max_batch_rows=batch_rows,
        )
        self._note = note

    def launch(self, inputs: np.ndarray[Any, Any], **asked: Any) -> Launched:
        self._note.append(len(inputs))
        return super().launch(inputs, **asked)
