"""How much may wait in a replica: rows and bytes are bounded, and no team can keep another one out."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from distill.contracts.errors import TeacherBusy


class Admission:
    """The bounds of one replica's queue, and what is in it."""

    def __init__(self, teacher: str, *, max_rows: int, max_bytes: int) -> None:
        self._teacher = teacher
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._rows: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    @property
    def rows(self) -> int:
        """Of all teams."""
        return self._rows.total()

    @contextmanager
    def room(self, team: str, num_rows: int, num_bytes: int) -> Iterator[None]:
        """Hold room for a request for as long as it waits or is computed.

        A full queue takes a team's request all the same, as long as the team has no more in it than an equal part of
        the bounds; so it never holds more than twice of them. An empty one takes whatever comes.

        Raises:
            TeacherBusy: there is none.
        """
        if self._rows and not (self._fits(num_rows, num_bytes) or self._is_due(team, num_rows, num_bytes)):
            raise TeacherBusy(
                f"{self._teacher} has {self.rows} rows of {self._bytes.total()} bytes in its queue, and takes "
                f"{self._max_rows} rows or {self._max_bytes} bytes: ask again later"
            )
        self._rows[team] += num_rows
        self._bytes[team] += num_bytes
        try:
            yield
        finally:
            self._rows[team] -= num_rows
            self._bytes[team] -= num_bytes
            if not self._rows[team]:
                del self._rows[team], self._bytes[team]

    def _fits(self, num_rows: int, num_bytes: int) -> bool:
        return self.rows + num_rows <= self._max_rows and self._bytes.total() + num_bytes <= self._max_bytes

    def _is_due(self, team: str, num_rows: int, num_bytes: int) -> bool:
        num_teams = len(self._rows.keys() | {team})
        return (self._rows[team] + num_rows) * num_teams <= self._max_rows and (
            self._bytes[team] + num_bytes
        ) * num_teams <= self._max_bytes
