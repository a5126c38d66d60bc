"""Drivers that nobody waits for any more: their attempt has ended, or a newer one counts; they are stopped."""

import logging
import time
from collections.abc import Iterable

from distill.contracts.records import JobRecord
from services.control_plane.deleting import Deletion
from services.control_plane.lease import Lease
from services.control_plane.ray_rest import Driver, RayRest
from services.control_plane.store import Store

log = logging.getLogger(__name__)

EVERY_S = 15.0
PATIENCE_S = 45.0
"""A driver that has said its last word has so long to leave by itself."""


class Strays:
    """Finds what a hung or frozen driver would otherwise hold for ever: a process, and its workers' resources."""

    def __init__(self, store: Store, ray: RayRest, lease: Lease, deletion: Deletion) -> None:
        self._store = store
        self._ray = ray
        self._lease = lease
        self._deletion = deletion
        self._looked_at = -EVERY_S
        self._since: dict[str, float] = {}

    async def tend(self) -> None:
        """Every few seconds, stop the drivers that have been stray for too long; until they are gone."""
        moment = time.monotonic()
        if moment - self._looked_at < EVERY_S:
            return
        self._looked_at = moment
        drivers = await self._ray.drivers()
        jobs = await self._store.jobs(sorted({driver.job for driver in drivers}))
        found = stray(drivers, jobs, await self._deletion.jobs_with_files())
        self._since = {one: self._since.get(one, moment) for one in found}
        for submission, since in self._since.items():
            if moment - since >= PATIENCE_S:
                log.warning("%s is still there, and nobody waits for it: it is stopped", submission)
                await self._lease.must_hold()
                await self._ray.stop(submission)


def stray(drivers: Iterable[Driver], jobs: Iterable[JobRecord], deleted: Iterable[str] = ()) -> list[str]:
    """The submissions of drivers whose attempt no longer counts, or whose job is deleted; one that isn't ours is left alone."""
    counting: dict[str, int | None] = dict.fromkeys(deleted)
    counting |= {job.id: job.attempt if job.state.has_attempt else None for job in jobs}
    return [
        driver.submission for driver in drivers if driver.job in counting and counting[driver.job] != driver.attempt
    ]
