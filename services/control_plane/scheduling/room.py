"""What is left of several things, and how much of it is kept for those who have waited long."""

from collections.abc import Mapping

TOLERANCE = 1e-6
"""Ray counts in ten-thousandths; ten times 0.1 is to fit into 1."""


class Room:
    """Of a cluster, or of a team's quotas: what it doesn't name is without bound."""

    def __init__(self, left: Mapping[str, float]) -> None:
        self.left = dict(left)
        self._kept = dict.fromkeys(left, 0.0)

    def lacking(self, need: Mapping[str, float]) -> str | None:
        """The first thing that is too little for ``need``."""
        for what, left in self.left.items():
            if _is_over(need[what], left):
                return what
        return None

    def is_kept(self, need: Mapping[str, float]) -> bool:
        """Whether ``need`` would take any of what is kept: then somebody who has waited longer would wait on."""
        return any(_is_over(need[what], self.left[what] - kept) for what, kept in self._kept.items() if kept)

    def take(self, need: Mapping[str, float]) -> None:
        """Let somebody have it."""
        for what in self.left:
            self.left[what] -= need[what]

    def keep(self, need: Mapping[str, float]) -> None:
        """Keep so much for somebody who has to wait, of what is left and of what will be free."""
        for what in self.left:
            self._kept[what] += need[what]


def _is_over(needed: float, left: float) -> bool:
    return needed > 0 and needed > left + TOLERANCE
