"""One book at work: what it knows, who computes the rest, and who waits for that.

Everything here happens at once, in the event loop, but for `Volume.changed`.

Shapes: N rows asked about, K of them known.
"""

import asyncio
import logging
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from distill.contracts.wire import BookKey
from teacher_server.book.claims import Claims
from teacher_server.book.pages import ROW_INDEX_BYTES, Pages, Rows
from teacher_server.digests import digest_keys
from teacher_server.memory import Consulted
from teacher_server.window import Array

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Volume:
    """One book; its claims outlive its pages, which may be on storage alone."""

    key: BookKey
    used_at: float = 0.0
    pages: Pages | None = None
    edition: str = ""
    """Names the pages as they were loaded or begun: what was found out about others says nothing of these."""
    is_confirmed: bool = False
    """Whether students may have them: everything came in live, or a replica found that the same is computed today."""
    first_unsaved_at: float | None = None
    handed_in_at: float = 0.0
    retry_at: float = 0.0
    """Storage failed: not before this time again."""
    claims: Claims = field(default_factory=Claims)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while pages come from storage or go to it."""
    loading: "asyncio.Task[None] | None" = None
    _waiting: dict[asyncio.Event, frozenset[bytes]] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """In memory."""
        return 0 if self.pages is None else self.pages.num_bytes

    @property
    def num_unsaved(self) -> int:
        """Rows that storage doesn't have yet."""
        return 0 if self.pages is None else self.pages.num_unsaved

    def begin(self, pages: Pages) -> None:
        """Work with these pages from now on."""
        self.pages = pages
        self.edition = uuid.uuid4().hex
        self.is_confirmed = pages.num_rows == 0
        self.first_unsaved_at = None
        self._wake(None)

    def let_go(self) -> None:
        """Forget the pages; they are loaded again when they are asked for."""
        self.pages = None
        self._wake(None)

    def known(self, digests: Array) -> Consulted:
        """What is known, without a claim on the rest."""
        known_N, answers = self._find(digests)
        return Consulted(known_N, np.zeros(len(digests), bool), answers, self.edition, self.is_confirmed)

    def consult(self, digests: Array, claimant: str, now: float) -> Consulted:
        """What is known, nothing while the pages are on their way, and what of the rest is the claimant's."""
        known_N, answers = self._find(digests)
        mine_N = np.zeros(len(digests), bool)
        if not known_N.all():
            mine_N[~known_N] = self.claims.take(digest_keys(digests[~known_N]), claimant, now)
        return Consulted(known_N, mine_N, answers, self.edition, self.is_confirmed)

    def hand_in(self, rows: Rows, *, max_bytes: int, now: float) -> None:
        """Keep answers, as far as ``max_bytes`` of memory go, and end the claims on their rows.

        Raises:
            InvalidAnswer: they don't fit the book's first rows; the claims end all the same.
        """
        assert self.pages is not None  # noqa: S101 - who hands in has opened it
        try:
            if self.num_bytes + rows.num_bytes + len(rows) * ROW_INDEX_BYTES > max_bytes:
                log.warning("an answer book of %s is full, %d bytes: no more is kept", self.key.teacher, self.num_bytes)
            elif self.pages.add(rows):
                self.handed_in_at = now
                self.first_unsaved_at = now if self.first_unsaved_at is None else self.first_unsaved_at
        finally:
            keys = digest_keys(rows.digests)
            self.claims.end(keys)
            self._wake(keys)

    def release(self, digests: Array, claimant: str) -> None:
        """End the claimant's claims on these rows."""
        keys = digest_keys(digests)
        self.claims.release(keys, claimant)
        self._wake(keys)

    def expire(self, now: float) -> None:
        """End the claims of the silent."""
        freed = self.claims.expire(now)
        if freed:
            log.warning("whoever computed %d rows of %s fell silent: they are free", len(freed), self.key.teacher)
            self._wake(freed)

    async def changed(self, digests: Array, timeout_s: float) -> bool:
        """Wait until some of these rows became known or free, or the pages others; False if time was over first."""
        event = asyncio.Event()
        self._waiting[event] = frozenset(digest_keys(digests))
        try:
            async with asyncio.timeout(timeout_s):
                return await event.wait()
        except TimeoutError:
            return False
        finally:
            del self._waiting[event]

    def _find(self, digests: Array) -> tuple[Array, dict[str, Array]]:
        if self.pages is None:
            return np.zeros(len(digests), bool), {}
        row_N = self.pages.find(digests)
        known_N = row_N >= 0
        return known_N, self.pages.take(row_N[known_N])

    def _wake(self, keys: Collection[bytes] | None) -> None:
        """Those who wait for one of these rows; None: everybody."""
        for event, rows in self._waiting.items():
            if keys is None or not rows.isdisjoint(keys):
                event.set()
