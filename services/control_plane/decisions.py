"""What to do next for a job: pure decisions over its record and what was seen of the cluster."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from distill.contracts.errors import AttemptLost, Problem
from distill.contracts.job import ComputeSpec
from distill.contracts.records import JobRecord, JobState, Phase, Reason
from services.control_plane.life import MAX_BACK_OFF_S
from services.control_plane.liveness import LEASE_RUNS, RAY_SILENT, Life, classify, is_hung
from services.control_plane.ray_rest import ClusterResources, RayJob, RayJobState
from services.control_plane.scheduling.words import WAITING_FOR_QUOTA

SIGNAL_AFTER_S = 30.0
"""An attempt that is to stop and hasn't obeyed its directive is signalled after so long."""
SAY_AFTER_S = 15.0
"""One that is to stop, and takes longer than this, has a reason that says what it waits for."""


@dataclass(frozen=True)
class Observed:
    """What is known of a job's attempt outside its record."""

    ray: RayJob | None
    """None while Ray doesn't answer."""
    has_heartbeat: bool
    silent_s: float
    """Since its driver was last heard, or first looked for."""
    now: datetime


@dataclass(frozen=True)
class Wait:
    """Stay as it is, and say why."""

    reason: Reason


@dataclass(frozen=True)
class Launch:
    """Hand the claimed attempt to Ray."""


@dataclass(frozen=True)
class Confirm:
    """It was handed to Ray, and whoever did so did not live to say it."""


@dataclass(frozen=True)
class Signal:
    """Interrupt the attempt's driver."""


@dataclass(frozen=True)
class DeclareLost:
    """The attempt is gone and left no last word."""

    problem: Problem


Decision = Launch | Confirm | Wait | Signal | DeclareLost | None


def waits_for_room(record: JobRecord, now: datetime) -> bool:
    """Whether a job is in the queue for room and turn alone: it doesn't back off, and its team's quotas allow it."""
    if record.state is not JobState.QUEUED or record.awaits_generation or record.reason.code == WAITING_FOR_QUOTA:
        return False
    return not backs_off(record, now)


def backs_off(record: JobRecord, now: datetime) -> bool:
    """A back-off that would last longer than any is one that a clock which stepped back left: it is over."""
    return record.not_before is not None and now < record.not_before <= now + timedelta(seconds=MAX_BACK_OFF_S)


def decide_attempt(record: JobRecord, observed: Observed) -> Decision:
    """What the attempt of a STARTING, RUNNING, PAUSING or CANCELLING job needs.

    An attempt of which it isn't known whether it runs is left alone: nothing starts, and nothing ends.
    """
    attempt = record.newest
    if attempt is None:
        return None
    if observed.ray is None:
        return Wait(RAY_SILENT) if _is_overdue(record, observed, SAY_AFTER_S) else None
    if Phase.LAUNCHED not in attempt.phases:
        is_there = observed.has_heartbeat or _was_heard(record) or observed.ray.state is not RayJobState.ABSENT
        if record.state is JobState.STARTING:
            return Confirm() if is_there else Launch()
        if not is_there:
            return DeclareLost(AttemptLost("stopped before Ray was asked to start it").problem())
    return _decide_launched(record, observed.ray, observed)


def _decide_launched(record: JobRecord, ray: RayJob, observed: Observed) -> Decision:
    life = classify(ray, has_heartbeat=observed.has_heartbeat, silent_s=observed.silent_s)
    if life is Life.DEAD:
        return DeclareLost(_lost(ray))
    if life is Life.UNKNOWN or ray.state.has_ended:  # its heart still beats, or its lease has yet to run out
        return Wait(LEASE_RUNS) if _is_overdue(record, observed, SAY_AFTER_S) else None
    if record.state.is_stopping and not (observed.has_heartbeat or _was_heard(record)):
        return Signal()  # its driver still imports, and reads no directive; it has nothing to save
    if _is_overdue(record, observed, SIGNAL_AFTER_S) or is_hung(ray, silent_s=observed.silent_s):
        return Signal()
    if _is_overdue(record, observed, SAY_AFTER_S):
        text = f"the workers have not stopped yet; they are interrupted after {SIGNAL_AFTER_S:.0f} s"
        return Wait(Reason(code="stopping", text=text))
    return None


def _was_heard(record: JobRecord) -> bool:
    """Whether the newest attempt's driver, or a rank, has said anything."""
    phases = record.newest.phases.keys() if record.newest else set()
    return bool(phases - {Phase.CLAIMED, Phase.LAUNCHED})


def _is_overdue(record: JobRecord, observed: Observed, allowed_s: float) -> bool:
    """Whether an attempt that is to stop has had more than ``allowed_s`` for it."""
    if not record.state.is_stopping or record.wished_at is None:
        return False
    return observed.now - record.wished_at > timedelta(seconds=allowed_s)


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
