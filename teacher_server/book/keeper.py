"""Which books are in memory: loaded when they are asked for, saved soon after they grew, let go when memory is short."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from distill.contracts.wire import BookKey
from teacher_server.book.pages import Pages
from teacher_server.book.shelf import Shelf, book_id
from teacher_server.book.volume import Volume

log = logging.getLogger(__name__)

SAVE_ROWS = 4096
SAVE_QUIET_S, SAVE_AFTER_S = 1.0, 2.0
"""What a crash may cost: unsaved rows are written at so many, when nothing came for so long, or at that age."""
RETRY_S = 10.0
"""Storage that failed is left alone for so long."""


class Keeper:
    """Brings volumes from the shelf and back; the disk is waited for in threads."""

    def __init__(self, shelf: Shelf, *, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self._shelf = shelf
        self._clock = clock
        self._volumes: dict[str, Volume] = {}

    def __iter__(self) -> Iterator[Volume]:
        return iter(list(self._volumes.values()))

    def volume(self, key: BookKey) -> Volume:
        """The book of ``key``, whether or not its pages are here; it counts as used."""
        identity = book_id(key)
        volume = self._volumes.get(identity)
        if volume is None:
            volume = self._volumes[identity] = Volume(key)
        volume.used_at = self._clock()
        return volume

    async def opened(self, key: BookKey) -> Volume:
        """The book of ``key`` with its pages."""
        volume = self.volume(key)
        while volume.pages is None:
            # shielded: whoever asks may give up, others may wait for the same pages
            await asyncio.shield(self.load_soon(volume))
        return volume

    def load_soon(self, volume: Volume) -> "asyncio.Task[None]":
        """Load its pages, once for all who ask."""
        if volume.loading is None or volume.loading.done():
            volume.loading = asyncio.create_task(self._load(volume))
        return volume.loading

    async def save_due(self) -> None:
        """Write what should be on storage by now."""
        for volume in self:
            if self._is_due(volume):
                await self.save(volume)

    async def save(self, volume: Volume) -> bool:
        """Write the rows that storage doesn't have; False if it doesn't take them."""
        async with volume.changing:
            pages = volume.pages
            if pages is None or not pages.num_unsaved:
                return True
            stop, volume.first_unsaved_at = pages.num_rows, None
            try:
                await asyncio.to_thread(self._shelf.save, volume.key, pages.rows(pages.num_saved, stop))
            except OSError:
                log.exception("%d rows could not be saved: a crash would cost them", pages.num_unsaved)
                volume.retry_at = self._clock() + RETRY_S
                return False
            pages.num_saved = stop
            if pages.num_unsaved:
                volume.first_unsaved_at = self._clock()
        await self._make_room()
        return True

    async def fit_memory(self) -> None:
        """Let go of the books that were not used for the longest time until all fit; one always stays."""
        while sum(volume.num_bytes for volume in self) > self.max_bytes:
            loaded = self._by_use()
            if len(loaded) < 2:
                return
            is_saved = await self.save(loaded[0])
            if not is_saved or not loaded[0].num_unsaved:
                loaded[0].let_go()

    async def refuse(self, volume: Volume, edition: str) -> Path | None:
        """Begin the book anew, and move what storage has of it aside, and say where to.

        Returns None if it is another edition by now, or storage has nothing of it.
        """
        async with volume.changing:
            if volume.edition != edition or volume.pages is None:
                return None
            volume.begin(Pages())
            return await asyncio.to_thread(self._shelf.refuse, volume.key)

    def save_now(self) -> None:
        """Write everything, and wait for it: the process ends."""
        for volume in self:
            pages = volume.pages
            if pages is None or not pages.num_unsaved:
                continue
            try:
                self._shelf.save(volume.key, pages.rows(pages.num_saved, pages.num_rows))
                pages.num_saved = pages.num_rows
            except OSError:
                log.exception("%d rows could not be saved, and are lost", pages.num_unsaved)

    def _is_due(self, volume: Volume) -> bool:
        now = self._clock()
        if not volume.num_unsaved or now < volume.retry_at:
            return False
        first = volume.first_unsaved_at if volume.first_unsaved_at is not None else now
        is_old = now - first >= SAVE_AFTER_S or now - volume.handed_in_at >= SAVE_QUIET_S
        return is_old or volume.num_unsaved >= SAVE_ROWS

    async def _load(self, volume: Volume) -> None:
        async with volume.changing:
            if volume.pages is not None:
                return
            try:
                pages = await asyncio.to_thread(self._shelf.load, volume.key, max_bytes=self.max_bytes)
            except OSError:
                log.exception("an answer book of %s can't be read: it begins anew", volume.key.teacher)
                pages = Pages()
            volume.begin(pages)

    async def _make_room(self) -> None:
        by_id = {book_id(volume.key): volume for volume in self._by_use()}
        try:
            deleted = await asyncio.to_thread(self._shelf.make_room, list(by_id))
        except OSError:
            log.exception("old answer books could not be deleted: they take more room than they may")
            return
        for name in deleted:
            if name in by_id:
                by_id[name].let_go()

    def _by_use(self) -> list[Volume]:
        return sorted((volume for volume in self if volume.pages is not None), key=lambda volume: volume.used_at)
