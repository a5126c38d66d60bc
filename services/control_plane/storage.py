"""How much each team has below the storage root: worked out from what the hourly collection of garbage found there."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.pool import StorageUsage
from distill.contracts.teachers import TeacherRecord
from services.control_plane.retention import Known, Sort, Thing

WHOLE = frozenset({Sort.ORPHANS, Sort.ANSWERS})
"""Whole folders; things of the other sorts lie in these."""


def storage_by_team(known: Known, things: Iterable[Thing], *, at: datetime) -> dict[str, StorageUsage]:
    """What each team has of ``things``, which were found at this moment.

    A team that has records is told, with nothing if nothing of it was found. What belongs to no record is nobody's.
    """
    teams = _teams(known)
    sums: dict[str, dict[str, int]] = {team: defaultdict(int) for team in teams.values()}
    for thing in things:
        if thing.sort in WHOLE and thing.owner in teams:
            sums[teams[thing.owner]][f"{thing.where.partition('/')[0]}_bytes"] += thing.size_bytes
    return {team: StorageUsage.model_validate({**sizes, "measured_at": at}) for team, sizes in sorted(sums.items())}


async def keep_storage(redis: Redis, found: Mapping[str, StorageUsage], *, month: str) -> None:
    """Put it in place of what was measured before in that month. Raises redis.RedisError."""
    key = names.storage_key(month)
    async with redis.pipeline(transaction=True) as change:
        change.delete(key)
        for team, usage in found.items():
            change.hset(key, team, usage.model_dump_json())
        await change.execute()


def _teams(known: Known) -> dict[str, str]:
    """Owner of a thing -> team."""
    return {
        **_teams_of_digests(known.teachers),
        **{f"teacher/{one.name}/{version.version}": one.team for one in known.teachers for version in one.versions},
        **{f"study/{identity}": study.team for identity, study in known.studies.items()},
        **{f"job/{identity}": job.team for identity, job in known.jobs.items()},
    }


def _teams_of_digests(teachers: Sequence[TeacherRecord]) -> dict[str, str]:
    """Digest of a teacher -> team; of the one that was there first, where several are of the same weights."""
    checked = [(version, one.team) for one in teachers for version in one.versions if version.manifest is not None]
    newest_first = sorted(checked, key=lambda pair: pair[0].created_at, reverse=True)
    return {version.manifest.digest: team for version, team in newest_first if version.manifest is not None}
