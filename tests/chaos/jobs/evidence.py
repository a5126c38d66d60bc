"""What is left of a run when it is over: the event log and record of every job, what users were told, what Ray ran."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from redis import Redis

from distill.contracts import names
from distill.contracts.events import Event
from distill.contracts.records import JobRecord
from services.control_plane.lists import identity_at, lists_of

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Trail:
    """A job's event log, and the record that it led to."""

    record: JobRecord
    entries: Sequence[tuple[str, Event]]
    """(stream id, event), the oldest first."""

    @property
    def events(self) -> list[Event]:
        """Without their ids."""
        return [event for _, event in self.entries]


@dataclass(frozen=True)
class Run:
    """A process that the stand-in for Ray started for a submission."""

    submission: str
    job: str
    attempt: int
    began: datetime
    ended: datetime | None
    """None: it is there still."""
    frozen: Sequence[Span] = ()
    """When it was stopped by SIGSTOP."""


@dataclass(frozen=True)
class Submit:
    """What a user sent with one key, and what it was answered each time."""

    key: str
    answers: Sequence[str] = ()
    """Identities of jobs."""


@dataclass(frozen=True)
class Evidence:
    """All of it."""

    trails: Mapping[str, Trail]
    """Of every job, also of those that are deleted: kept when that was asked for."""
    stored: frozenset[str]
    """The jobs that Redis still has a record of."""
    submits: Sequence[Submit]
    deleted: frozenset[str] = frozenset()
    """Jobs whose deletion was asked for."""
    gone: frozenset[str] = frozenset()
    """Of these, the jobs of which a user was told that they are deleted."""
    cancelled: frozenset[str] = frozenset()
    """Jobs of which a user was told that their cancellation is taken."""
    runs: Sequence[Run] = ()
    redis_away: Sequence[Span] = ()
    lease_s: float = 3.0
    unlisted: Sequence[str] = ()
    """What is wrong with the lists and with the set of jobs that need care, in words."""
    waiting: Sequence[str] = ()
    """Jobs whose inbox still holds something."""
    keys_for_ever: Sequence[str] = ()
    keys_of_deleted: Sequence[str] = ()
    audit_faults: Sequence[str] = ()
    """What the verification of the audit log found."""
    tracebacks: Sequence[str] = ()
    """In the control planes' logs."""
    surprises: Sequence[str] = ()
    """Answers that users did not expect."""


def read_trail(redis: Redis, job: str) -> Trail | None:
    """The job's trail as it is now; None if it has no record."""
    stored = redis.get(names.record_key("job", job))
    if stored is None:
        return None
    found = redis.xrange(names.events_key("job", job))
    entries = [(str(entry), Event.model_validate_json(fields["event"])) for entry, fields in found]  # type: ignore[union-attr]
    return Trail(JobRecord.model_validate_json(str(stored)), entries)


def stored_jobs(redis: Redis) -> list[str]:
    """Every job that the index knows."""
    return [str(one) for one in redis.zrange(names.index_key("job"), 0, -1)]  # type: ignore[union-attr]


def records_of(redis: Redis) -> list[JobRecord]:
    """Of every job that the index knows."""
    keys = [names.record_key("job", job) for job in stored_jobs(redis)]
    found = redis.mget(keys) if keys else []
    return [JobRecord.model_validate_json(str(one)) for one in found if one is not None]  # type: ignore[union-attr]


def waiting_inboxes(redis: Redis) -> list[str]:
    """Jobs whose inbox holds something, whether they have a record or not."""
    inboxes = redis.scan_iter(names.inbox_key("job", "*"), count=1000)
    return sorted(str(key).split(":")[2] for key in inboxes if redis.xlen(str(key)))


def faults_of_lists(redis: Redis, records: Sequence[JobRecord]) -> Iterator[str]:
    """Where an index says another thing than the records."""
    active = {str(one) for one in redis.smembers(names.active_key("job"))}  # type: ignore[union-attr]
    living = {record.id for record in records if not record.state.is_final}
    if active != living:
        yield f"active {sorted(active - living)} that are not, not active {sorted(living - active)} that are"
    there: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for key in lists_of(record):
            there[key].add(record.id)
    for key in sorted(there.keys() | {str(key) for key in redis.scan_iter(names.list_key("job", "*"), count=1000)}):
        listed = {identity_at(str(place)) for place in redis.zrange(key, 0, -1)}  # type: ignore[union-attr]
        if listed != there[key]:
            yield f"{key} has {sorted(listed - there[key])} too many and lacks {sorted(there[key] - listed)}"
