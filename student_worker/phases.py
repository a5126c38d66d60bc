"""Wall time by phase: each phase begins where the one before it ended."""

import time


class Stopwatch:
    """Seconds of named phases, in order; moments are seconds since 1970, so that processes can share them."""

    def __init__(self, since: float) -> None:
        self.phases: dict[str, float] = {}
        self._since = since

    def lap(self, phase: str, *, at: float | None = None) -> None:
        """Everything since the last lap, until now or ``at``, was ``phase``."""
        moment = time.time() if at is None else at
        self.phases[phase] = self.phases.get(phase, 0.0) + moment - self._since
        self._since = moment
