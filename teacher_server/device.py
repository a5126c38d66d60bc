"""The device of a replica: one thread launches batches, another fetches them, so that one computes while one is copied."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from teacher_server.launched import Launched
from teacher_server.pending import Batch, Computed, Pending
from teacher_server.runner import Ensemble

NEWEST = 0.3
"""Weight of the newest batch in what the next one is expected to take."""
LEAD = 0.25
"""A batch is about to end in the last quarter of its time: batches differ, and the next one must not come late."""


class Device:
    """Computes batches in the order in which they are launched. For one event loop."""

    def __init__(self, ensemble: Ensemble, *, threads: int) -> None:
        """``threads`` are torch's, of the forward pass."""
        self.num_batches = 0
        """Launched, or about to be, and not yet fetched."""
        self.work = 0
        """Rows times members of these."""
        self.rows_computed = 0
        """Since the start."""
        self._ensemble = ensemble
        self._pace = Pace()
        self._fetched_at = 0.0
        self._busy_s = 0.0
        self._busy_since: float | None = None
        self._launcher = ThreadPoolExecutor(1, "launch", initializer=torch.set_num_threads, initargs=(threads,))
        self._fetcher = ThreadPoolExecutor(1, "fetch", initializer=torch.set_num_threads, initargs=(1,))

    async def compute(self, batch: Batch, launched: asyncio.Event) -> list[tuple[Pending, Computed | Exception]]:
        """Compute a batch; ``launched`` is set as soon as another one may be launched.

        Returns:
            The requests that are done with it, each with its answer or its own error.

        Raises:
            Exception: whatever the ensemble raises, for the batch as a whole.
        """
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        self._begin(batch.work, began)
        self._pace.launching(batch.work, at=began)
        try:
            under_way = await loop.run_in_executor(self._launcher, self._launch, batch)
            self._pace.launched(time.monotonic() - began)
            launched.set()
            return await loop.run_in_executor(self._fetcher, self._fetch, batch, under_way, began)
        finally:
            self._end(batch.work, time.monotonic())
            launched.set()

    @property
    def busy_s(self) -> float:
        """For so long it has computed, since the start; for any thread."""
        since = self._busy_since
        return self._busy_s + (0.0 if since is None else time.monotonic() - since)

    @property
    def due_at(self) -> float:
        """When the batch on the device is about to end, on the monotonic clock, as far as is known."""
        return self._pace.due_at

    @property
    def s_per_work(self) -> float | None:
        """Seconds of a row and member; None before any was computed."""
        return self._pace.s_per_work

    @property
    def busy_s_left(self) -> float:
        """Seconds until all batches on it have ended, as far as is known."""
        if self._busy_since is None or self.s_per_work is None:
            return 0.0
        began = max(self._busy_since, self._fetched_at)
        return max(0.0, began + self.work * self.s_per_work - time.monotonic())

    def close(self) -> None:
        """End the threads, after what they do."""
        self._launcher.shutdown()
        self._fetcher.shutdown()

    def _begin(self, work: int, at: float) -> None:
        if not self.num_batches:
            self._busy_since = at
        self.num_batches += 1
        self.work += work

    def _end(self, work: int, at: float) -> None:
        self.num_batches -= 1
        self.work -= work
        if not self.num_batches and self._busy_since is not None:
            self._busy_s += at - self._busy_since
            self._busy_since = None

    def _launch(self, batch: Batch) -> Launched:
        shape = batch.shape
        return self._ensemble.launch(
            batch.inputs(), members=shape.members, precision=shape.precision, top_k=shape.top_k, taps=shape.taps
        )

    def _fetch(self, batch: Batch, launched: Launched, began: float) -> list[tuple[Pending, Computed | Exception]]:
        fetched = launched.fetch()
        ended = time.monotonic()
        # it had to wait for the one before, and that time is not its own
        device_s = ended - max(began, self._fetched_at)
        self._fetched_at = ended
        self.rows_computed += batch.num_rows
        self._pace.fetched(batch.work, device_s, at=ended)
        return batch.outcomes(fetched, self._ensemble, device_s=device_s)


class Pace:
    """What a batch is expected to take, from those before it."""

    def __init__(self) -> None:
        self.s_per_work: float | None = None
        """Seconds of a row and member; None before any batch has ended."""
        self._launch_s = 0.0
        self._newest_work = 0
        self._newest_began = 0.0
        self._last_ended = 0.0

    def launching(self, work: int, *, at: float) -> None:
        """A batch goes to the device."""
        self._newest_work, self._newest_began = work, at

    def launched(self, seconds: float) -> None:
        """It took so long until it was there."""
        self._launch_s += NEWEST * (seconds - self._launch_s)

    def fetched(self, work: int, device_s: float, *, at: float) -> None:
        """A batch has ended, and the device was its own for so long."""
        newest = device_s / work
        before = newest if self.s_per_work is None else self.s_per_work
        self.s_per_work = before + NEWEST * (newest - before)
        self._last_ended = at

    @property
    def due_at(self) -> float:
        """When the newest batch is about to end, if it is the only one; at once, if nothing is known."""
        expected_s = self._newest_work * (self.s_per_work or 0.0)
        lead_s = max(self._launch_s, LEAD * expected_s)
        return max(self._newest_began, self._last_ended) + expected_s - lead_s
