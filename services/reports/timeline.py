"""Where a job's time went: its stations, in order, from the record's timestamps."""

from distill.contracts.base import Timestamp
from distill.contracts.records import JobRecord, Phase
from distill.contracts.report import Station

_NAMES = {Phase.WORKERS_READY: "workers ready", Phase.TEACHER_READY: "teacher ready", Phase.TRAINING: "first step"}


def stations(job: JobRecord) -> tuple[Station, ...]:
    """Submitted, then each station that the last attempt reached, by time."""
    reached = [(_NAMES.get(phase, str(phase)), at) for phase, at in _reached(job)]
    reached.sort(key=lambda station: station[1])
    times = [job.created_at, *(at for _, at in reached)]
    return Station(name="submitted", after_s=0.0, at_s=0.0), *(
        Station(name=name, after_s=_seconds(before, at), at_s=_seconds(job.created_at, at))
        for (name, at), before in zip(reached, times, strict=False)
    )


def _reached(job: JobRecord) -> list[tuple[Phase, Timestamp]]:
    phases = dict(job.attempts[-1].phases) if job.attempts else {}
    if job.ended_at is not None:
        phases.setdefault(Phase.ENDED, job.ended_at)
    return [(phase, phases[phase]) for phase in Phase if phase in phases]


def _seconds(start: Timestamp, end: Timestamp) -> float:
    return (end - start).total_seconds()
