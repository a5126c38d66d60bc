"""What each team is granted and has, in Redis; replicas read the weights from a hash of their own."""

from collections.abc import Iterable

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.records import JobRecord, JobState
from distill.contracts.teams import TeamAccounts, TeamHolding, TeamRecord, TeamSpec
from services.control_plane.decisions import needs
from services.control_plane.measured import read_usage


class Teams:
    """The operator's word on every team, and what the queue remembers of them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self, team: str) -> TeamRecord:
        """What is granted to a team; the defaults where nobody has granted anything."""
        stored = await self._redis.hget(names.TEAMS_KEY, team)
        return TeamRecord(name=team) if stored is None else TeamRecord.model_validate_json(stored)

    async def all(self) -> dict[str, TeamRecord]:
        """Team -> what is granted to it, of those to whom anything is."""
        stored = await self._redis.hgetall(names.TEAMS_KEY)
        return {str(team): TeamRecord.model_validate_json(text) for team, text in sorted(stored.items())}

    async def grant(self, team: str, granted: TeamSpec) -> TeamRecord:
        """Put it in place of what was granted before; its weight counts in every replica within seconds."""
        record = TeamRecord(name=team, granted=granted, updated_at=now())
        async with self._redis.pipeline(transaction=True) as change:
            change.hset(names.TEAMS_KEY, team, record.model_dump_json())
            change.hset(names.TEAM_WEIGHTS_KEY, team, str(granted.weight))
            await change.execute()
        return record

    async def rows_this_month(self, team: str) -> int:
        """Rows times members that teachers have computed for it."""
        (usage,) = await read_usage(self._redis, [team], f"{now():%Y-%m}")
        return sum(teacher.rows_computed for teacher in usage.teachers)

    async def holding(self, team: str, jobs: Iterable[JobRecord]) -> TeamHolding:
        """What it has now, ``jobs`` being all that have not ended."""
        own = [job for job in jobs if job.team == team]
        running = [job for job in own if job.state.has_attempt]
        return TeamHolding(
            queued=sum(job.state is JobState.QUEUED for job in own),
            jobs=len(running),
            workers=sum(job.spec.compute.workers for job in running),
            cpus=sum(needs(job.spec.compute).cpus for job in running),
            gpus=sum(needs(job.spec.compute).gpus for job in running),
            teacher_rows_this_month=await self.rows_this_month(team),
        )

    async def accounts(self) -> TeamAccounts | None:
        """As the queue left them; None where no team waited for room."""
        stored = await self._redis.get(names.TEAM_ACCOUNTS_KEY)
        return None if stored is None else TeamAccounts.model_validate_json(stored)

    async def keep_accounts(self, accounts: TeamAccounts | None) -> None:
        """Remember them, for this control plane or another; None forgets them."""
        if accounts is None:
            await self._redis.delete(names.TEAM_ACCOUNTS_KEY)
        else:
            await self._redis.set(names.TEAM_ACCOUNTS_KEY, accounts.model_dump_json())
