"""The jobs that have not ended, as the reconciler sees them several times a round."""

from distill.contracts.records import JobRecord
from services.control_plane.guarded import guarded
from services.control_plane.store import Store

CHUNK = 500
"""So many are asked of Redis at a time: others get a word in between."""


class ActiveJobs:
    """Applies what their workers said, and reads anew only records that have changed: of many, most wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, tuple[str, JobRecord]] = {}
        """Identity -> the record as it is stored, and as it was read."""

    async def read(self) -> list[JobRecord]:
        """All that there are now, the oldest first; one that can't be read is logged, and holds up no other."""
        identities = await self._store.active("job")
        stored: dict[str, str] = {}
        for start in range(0, len(identities), CHUNK):
            chunk = identities[start : start + CHUNK]
            for identity in await self._store.with_inbox("job", chunk):
                await guarded(f"job {identity}", self._store.apply_pending, "job", identity)
            stored |= await self._store.stored("job", chunk)
        before, self._read = self._read, {}
        for identity, text in stored.items():
            known = before.get(identity)
            if known is not None and known[0] == text:
                self._read[identity] = known
            else:
                await guarded(f"job {identity}", self._take, identity, text)
        jobs = (job for _, job in self._read.values())
        return sorted((job for job in jobs if not job.state.is_final), key=lambda job: (job.created_at, job.id))

    async def _take(self, identity: str, text: str) -> None:
        self._read[identity] = text, JobRecord.model_validate_json(text)
