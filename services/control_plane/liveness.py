"""Whether an attempt still runs, from Ray's word and its driver's heartbeat together; neither is believed alone."""

import time
from collections.abc import Collection
from enum import StrEnum

from distill.contracts.records import Reason
from services.control_plane.ray_rest import RayJob, RayJobState

GRACE_S = 5.0
"""What Ray calls FAILED, or no longer knows, is dead once its driver has been silent for so long beyond its lease: Ray
can say either wrongly while its own control store fails over."""
HUNG_AFTER_S = 660.0
"""A driver that Ray calls RUNNING and that nobody has heard for so long is hung: one that is merely cut off from Redis
has stopped by itself before that (`max_offline_s`, 600 s)."""

RAY_SILENT = Reason(
    code="waiting_for_cluster", text="waiting for Ray to answer: whether the attempt still runs is not known"
)

LEASE_RUNS = Reason(code="stopping", text="Ray says that the attempt has ended; its driver's lease has yet to run out")


class Life(StrEnum):
    """What is known of an attempt that Ray was asked to start."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"
    """Starts nothing and ends nothing."""


def classify(ray: RayJob | None, *, has_heartbeat: bool, silent_s: float) -> Life:
    """Put both words together.

    Args:
        ray: what Ray says; None while it doesn't answer.
        has_heartbeat: whether the driver holds the attempt's lease.
        silent_s: seconds since it was last seen to, or since somebody first looked.
    """
    if has_heartbeat:
        return Life.ALIVE
    if ray is None:
        return Life.UNKNOWN
    if not ray.state.has_ended:
        return Life.ALIVE
    if ray.state in {RayJobState.STOPPED, RayJobState.SUCCEEDED}:
        return Life.DEAD
    return Life.DEAD if silent_s >= GRACE_S else Life.UNKNOWN


def is_hung(ray: RayJob, *, silent_s: float) -> bool:
    """Whether a driver has a process, and has said nothing for longer than one that works ever would."""
    return ray.state is RayJobState.RUNNING and silent_s > HUNG_AFTER_S


class Silence:
    """For how long each attempt has been silent, as far as this process could hear."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def forget(self) -> None:
        """This process was deaf itself: every silence begins anew."""
        self._since.clear()

    def of(self, submission: str, *, has_heartbeat: bool) -> float:
        """Seconds, 0 while the heart beats; clocks that step silence nobody."""
        moment = time.monotonic()
        if has_heartbeat:
            self._since[submission] = moment
        return moment - self._since.setdefault(submission, moment)

    def keep(self, submissions: Collection[str]) -> None:
        """Forget all others."""
        self._since = {one: since for one, since in self._since.items() if one in submissions}
