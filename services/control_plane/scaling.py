"""How many replicas each teacher is to have: pure decisions over demand, measured load, room, the count before and the time.

More come at once where the declared demand asks for them, or where a queue has been long for a while; fewer come one
by one, and late: a replica takes seconds to start, and what was needed a moment ago is often needed again.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from distill.contracts import names
from distill.contracts.pool import ReplicaLoad, Reservation
from distill.contracts.records import JobRecord
from distill.contracts.teachers import TeacherResources
from services.control_plane.deployment import asks_teachers, size_of
from services.control_plane.ray_rest import ClusterResources

QUEUE_S = 1.0
"""A queue of more seconds of work than this is long."""

SHORT_S = 2.0
"""So long must it be long before more replicas are asked for."""

AMPLE_S = 30.0
"""So long must fewer replicas be enough before one goes."""

BUSY = 0.8
"""Replicas that compute for less than this share of the time are not what anybody waits for."""

TELLING_BUSY = 0.5
"""A replica that computes for less than this share of the time says little of what it could do."""

SLACK = 0.05
"""Of one replica: so much of the declared demand may lie above what there is, since measured capacities waver."""


@dataclass(frozen=True)
class Scale:
    """How many replicas a teacher has, and since when they have been too few or too many; neither while they are right."""

    replicas: int
    short_since: datetime | None = None
    ample_since: datetime | None = None


def demand_of(jobs: Iterable[JobRecord], reservations: Iterable[Reservation]) -> dict[str, float]:
    """Application -> rows/s that attempts and reservations have declared; a job that declares nothing adds nothing."""
    demand: dict[str, float] = defaultdict(float)
    for job in filter(asks_teachers, jobs):
        for teacher in job.teachers:
            demand[names.application(teacher.name, teacher.version)] += job.spec.answers.rows_per_s or 0.0
    for reservation in reservations:
        teacher = reservation.teacher
        demand[names.application(teacher.name, teacher.version)] += reservation.rows_per_s
    return dict(demand)


def decide_scale(
    resources: TeacherResources,
    *,
    demand: float,
    rated: float,
    loads: Sequence[ReplicaLoad],
    before: Scale | None,
    now: datetime,
) -> Scale:
    """How many replicas a teacher should have, if there were room for all.

    Args:
        resources: its bounds.
        demand: declared, in rows/s.
        rated: what one replica can do by the manifest, in rows/s; counts where none is busy enough to be measured.
        loads: what its living replicas said last.
        before: what was decided in the round before; None for a teacher that is new.
        now: the present moment.
    """
    lowest, highest = resources.replicas, resources.most_replicas
    capacity = capacity_of_one(loads, rated=rated)
    asked = min(max(math.ceil(demand / capacity - SLACK), lowest), highest)
    if before is None or asked > before.replicas:
        return Scale(asked)
    count = min(before.replicas, highest)
    if _are_short(count, loads, capacity):
        since = before.short_since or now
        return Scale(count, short_since=since) if _within(since, now, SHORT_S) else Scale(min(2 * count, highest))
    if count > asked and _are_ample(count, loads, capacity):
        since = before.ample_since or now
        return Scale(count, ample_since=since) if _within(since, now, AMPLE_S) else Scale(count - 1)
    return Scale(count)


def capacity_of_one(loads: Iterable[ReplicaLoad], *, rated: float) -> float:
    """Rows/s of one replica that always computes: as the busy ones show it, else as rated."""
    telling = [load for load in loads if load.busy >= TELLING_BUSY and load.rows_per_s > 0]
    if not telling:
        return rated
    return sum(load.rows_per_s for load in telling) / sum(load.busy for load in telling)


def fit(
    wanted: Mapping[str, Scale], resources: Mapping[str, TeacherResources], *, spare: ClusterResources
) -> dict[str, Scale]:
    """As many of the wanted replicas as there is room for, in turn: one more for each teacher, then a second, ...

    Args:
        wanted: application -> what was decided for it.
        resources: application -> its bounds, and what one replica takes.
        spare: what is left when all have their fewest; nothing is ever taken from those.
    """
    counts = {name: min(scale.replicas, resources[name].replicas) for name, scale in wanted.items()}
    growing = sorted(name for name in wanted if counts[name] < wanted[name].replicas)
    while growing:
        for name in growing:
            if spare.holds(size_of(resources[name])):
                counts[name] += 1
                spare -= size_of(resources[name])
        growing = [
            name for name in growing if counts[name] < wanted[name].replicas and spare.holds(size_of(resources[name]))
        ]
    return {name: scale if scale.replicas == counts[name] else Scale(counts[name]) for name, scale in wanted.items()}


def _are_short(count: int, loads: Sequence[ReplicaLoad], capacity: float) -> bool:
    """Whether all replicas compute and more waits than they should have; not while one of them is still starting."""
    return len(loads) >= count and _busy(loads) >= BUSY * len(loads) and _queue_s(len(loads), loads, capacity) > QUEUE_S


def _are_ample(count: int, loads: Sequence[ReplicaLoad], capacity: float) -> bool:
    """Whether one fewer could do what all of them do now; unknown, and so untrue, where none says anything."""
    fewer = count - 1
    return bool(loads) and _busy(loads) <= BUSY * fewer and _queue_s(fewer, loads, capacity) <= QUEUE_S


def _busy(loads: Iterable[ReplicaLoad]) -> float:
    return sum(load.busy for load in loads)


def _queue_s(count: int, loads: Iterable[ReplicaLoad], capacity: float) -> float:
    """Seconds that ``count`` replicas take for all that waits."""
    return sum(load.queued_rows for load in loads) / (count * capacity)


def _within(since: datetime, now: datetime, seconds: float) -> bool:
    return now - since < timedelta(seconds=seconds)
