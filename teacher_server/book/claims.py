"""Who computes which rows of one book: a row has one claimant at a time, and a claimant that falls silent has none."""

from collections.abc import Iterable, Sequence

SILENCE_S = 5.0
"""After so long without a word of its claimant a claim ends."""


class Claims:
    """Claims on the rows of one book; times are the caller's clock."""

    def __init__(self) -> None:
        self._claimant_of: dict[bytes, str] = {}
        self._heard_at: dict[str, float] = {}

    def take(self, rows: Sequence[bytes], claimant: str, now: float) -> list[bool]:
        """Claim those that are free; True for those that are now, or were already, the claimant's."""
        self._heard_at[claimant] = now
        return [self._claimant_of.setdefault(row, claimant) == claimant for row in rows]

    def end(self, rows: Iterable[bytes]) -> None:
        """They have their answer."""
        for row in rows:
            self._claimant_of.pop(row, None)

    def release(self, rows: Iterable[bytes], claimant: str) -> None:
        """The claimant won't compute them: those that are its own become free."""
        self.end([row for row in rows if self._claimant_of.get(row) == claimant])

    def hear(self, claimant: str, now: float) -> None:
        """A word of a claimant, if it is one."""
        if claimant in self._heard_at:
            self._heard_at[claimant] = now

    def expire(self, now: float) -> list[bytes]:
        """End the claims of whoever has been silent for `SILENCE_S`; the rows that became free."""
        silent = {claimant for claimant, at in self._heard_at.items() if now - at > SILENCE_S}
        if not silent:
            return []
        for claimant in silent:
            del self._heard_at[claimant]
        freed = [row for row, claimant in self._claimant_of.items() if claimant in silent]
        self.end(freed)
        return freed
