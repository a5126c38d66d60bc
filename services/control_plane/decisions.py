"""What to do next for a job: pure decisions over its record and what was seen of the cluster."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from distill.contracts.errors import AttemptLost, Problem
from distill.contracts.job import ComputeSpec
from distill.contracts.records import JobRecord, JobState, Phase
from services.control_plane.ray_rest import ClusterResources, RayJob, RayJobState
from services.control_plane.scheduling.words import WAITING_FOR_QUOTA

SIGNAL_AFTER_S = 30.0
"""An attempt that is to stop and hasn't obeyed its directive is signalled after so long."""


@dataclass(frozen=True)
class Observed:
    """What is known of a job's attempt outside its record; ``ray`` is None while Ray doesn't answer."""

    ray: RayJob | None
    has_heartbeat: bool
    now: datetime


@dataclass(frozen=True)
class Launch:
    """Hand the claimed attempt to Ray."""


@dataclass(frozen=True)
class Signal:
    """Interrupt the attempt's driver."""


@dataclass(frozen=True)
class DeclareLost:
    """The attempt is gone and left no last word."""

    problem: Problem


Decision = Launch | Signal | DeclareLost | None


def waits_for_room(record: JobRecord, now: datetime) -> bool:
    """Whether a job is in the queue for room and turn alone: it doesn't back off, and its team's quotas allow it."""
    if record.state is not JobState.QUEUED or record.awaits_generation or record.reason.code == WAITING_FOR_QUOTA:
        return False
    return record.not_before is None or now >= record.not_before


def decide_attempt(record: JobRecord, observed: Observed) -> Decision:
    """What the attempt of a STARTING, RUNNING, PAUSING or CANCELLING job needs."""
    attempt = record.newest
    if attempt is None or observed.ray is None:
        return None
    launched_at = attempt.phases.get(Phase.LAUNCHED)
    if launched_at is None:
        return _decide_unlaunched(record, observed.ray)
    if observed.ray.state.has_ended and not observed.has_heartbeat:
        return DeclareLost(_lost(observed.ray))
    if record.state in {JobState.CANCELLING, JobState.PAUSING} and record.wished_at is not None:
        overdue = observed.now - record.wished_at > timedelta(seconds=SIGNAL_AFTER_S)
        return Signal() if overdue and not observed.ray.state.has_ended else None
    return None


def _decide_unlaunched(record: JobRecord, ray: RayJob) -> Decision:
    if record.state is JobState.STARTING:
        return Launch()
    if ray.state is RayJobState.ABSENT:
        return DeclareLost(AttemptLost("stopped before Ray was asked to start it").problem())
    return None


def _lost(ray: RayJob) -> Problem:
    if ray.state is RayJobState.ABSENT:
        return AttemptLost("the cluster no longer knows the attempt: Ray was restarted").problem()
    detail = f": {ray.message}" if ray.message else ""
    return AttemptLost(f"the attempt's driver ended ({ray.state.value}) without a last word{detail}").problem()


def needs(compute: ComputeSpec) -> ClusterResources:
    """What a job's workers take."""
    return ClusterResources(
        cpus=compute.workers * compute.cpus_per_worker, gpus=compute.workers * compute.gpus_per_worker
    )
