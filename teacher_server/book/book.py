"""The answer book: all books together, as replicas and students ask them. One process, one event loop.

Replicas get what any book knows, and check a sample of it themselves. Students get what is known to be right: rows
that came in live since the book was begun, or a book from storage once a replica confirmed it.

Shapes: N rows asked about.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from distill.contracts.wire import BookKey
from teacher_server.book.keeper import Keeper
from teacher_server.book.pages import Rows
from teacher_server.book.shelf import Shelf
from teacher_server.book.volume import Volume
from teacher_server.memory import Consulted
from teacher_server.window import Array

log = logging.getLogger(__name__)

TICK_S = 0.25
LOAD_S = 0.25
"""A book that takes longer to come from storage knows nothing meanwhile: whoever asks had better compute."""


class AnswerBook:
    """Consulted by replicas, which claim what is not known; recalled from by students, which don't."""

    def __init__(self, shelf: Shelf, *, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet: books are loaded when they are asked for.

        Args:
            shelf: the books on storage.
            max_bytes: of all books in memory.
            clock: seconds that only rise; claims and saving go by it.
        """
        self._keeper = Keeper(shelf, max_bytes=max_bytes, clock=clock)
        self._clock = clock

    async def consult(self, key: BookKey, digests: Array, *, claimant: str) -> Consulted:
        """What is known of rows with these digests (N, 16); what nobody computes becomes the claimant's."""
        return (await self._soon(key)).consult(digests, claimant, self._clock())

    async def wait(self, key: BookKey, digests: Array, *, claimant: str, timeout_s: float) -> Consulted:
        """The same, as soon as something of these rows is known or free, or after ``timeout_s``."""
        until = time.monotonic() + timeout_s
        while True:
            volume = await self._soon(key)
            consulted = volume.consult(digests, claimant, self._clock())
            left_s = until - time.monotonic()
            if consulted.known_N.any() or consulted.mine_N.any() or left_s <= 0:
                return consulted
            await volume.changed(digests, left_s)

    async def hand_in(self, key: BookKey, digests: Array, answers: Mapping[str, Array]) -> None:
        """Keep answers (N, ...), and end the claims on their rows.

        Raises:
            InvalidAnswer: they don't fit the book's first rows; none is kept.
        """
        volume = await self._keeper.opened(key)
        volume.hand_in(Rows(digests, answers), max_bytes=self._keeper.max_bytes, now=self._clock())

    async def release(self, key: BookKey, digests: Array, *, claimant: str) -> None:
        """The claimant won't compute these rows."""
        self._keeper.volume(key).release(digests, claimant)

    def alive(self, claimants: Iterable[str]) -> None:
        """Claimants that still compute: their claims go on."""
        now = self._clock()
        for volume in self._keeper:
            for claimant in claimants:
                volume.claims.hear(claimant, now)

    async def confirm(self, key: BookKey, edition: str) -> None:
        """A replica computed a sample of this edition, and it was the same: students may have it too."""
        volume = self._keeper.volume(key)
        if volume.edition == edition:
            volume.is_confirmed = True

    async def refuse(self, key: BookKey, edition: str, why: str) -> None:
        """A replica computed a sample of this edition, and it was not the same: nobody gets it any more."""
        volume = self._keeper.volume(key)
        if volume.edition != edition:
            return
        log.error(
            "an answer book of teacher %s is REFUSED: %s. Either its rows were changed on storage, or replicas "
            "compute differently than they did. It begins anew, and rows are computed again; what jobs learned from it "
            "before this moment may be wrong",
            key.teacher,
            why,
        )
        aside = await self._keeper.refuse(volume, edition)
        log.error("what storage had of the refused book lies in %s", aside or "no file: it was never saved")

    def recall(self, key: BookKey, digests: Array) -> Consulted:
        """What a student may have at once; a book that isn't in memory is loaded for the next time."""
        volume = self._keeper.volume(key)
        if volume.pages is not None and volume.is_confirmed:
            return volume.known(digests)
        if volume.pages is None:
            self._keeper.load_soon(volume)
        none_N = np.zeros(len(digests), bool)
        return Consulted(none_N, none_N, {})

    def describe(self) -> dict[str, int]:
        """Books in memory, their rows, and the bytes that these take."""
        loaded = [volume.pages for volume in self._keeper if volume.pages is not None]
        return {
            "books": len(loaded),
            "rows": sum(pages.num_rows for pages in loaded),
            "bytes": sum(pages.num_bytes for pages in loaded),
        }

    async def keep(self) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            await self.tick()

    async def tick(self) -> None:
        """End claims of the silent, save what is due, and keep within the bound of memory."""
        for volume in self._keeper:
            volume.expire(self._clock())
        await self._keeper.save_due()
        await self._keeper.fit_memory()

    def close(self) -> None:
        """Save everything, and wait for it."""
        self._keeper.save_now()

    async def _soon(self, key: BookKey) -> Volume:
        """The book of ``key``, with its pages if they come within `LOAD_S`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOAD_S):
                await self._keeper.opened(key)
        return self._keeper.volume(key)
