"""Which jobs of the queue start now, and what the others wait for.

Jobs are looked at in the order of the queue: the team comes next that has, and has had, least by its weight; within a
team the job of the highest priority, of these the oldest. Each job starts if its workers and the replicas that it needs
fit together, and its team's quotas allow it. Where it must wait, a later job may pass it; but once it has waited for
`PATIENCE_S`, all that it needs is kept for it, and only what takes nothing of that passes.
"""

import heapq
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from distill.contracts.teams import TeamAccounts
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scheduling.jobs import Decisions, Job, Ledger, Start, Team, Wait
from services.control_plane.scheduling.room import Room
from services.control_plane.scheduling.shares import dominant_share, held_by_teams, settle
from services.control_plane.scheduling.words import (
    BacksOff,
    IsKept,
    Lacks,
    MonthIsOver,
    NeverFits,
    OverQuota,
    QuotaIsKept,
    RayIsSilent,
    Why,
)

PATIENCE_S = 300.0
"""A job that has waited for so long is no longer passed by any that takes what it needs."""

HORIZON_S = 600.0
"""What a team holds counts as if it went on holding it for so long: teams share at each moment, not turn by turn."""


def decide(queue: Sequence[Job], ledger: Ledger, now: datetime) -> Decisions:
    """Start or let wait each job of the queue; the same input gives the same decisions.

    Args:
        queue: the jobs that wait, in any order.
        ledger: what there is, and who has it.
        now: the present moment.
    """
    in_line = [job for job in queue if job.not_before is None or job.not_before <= now]
    if ledger.total is None:
        silent: dict[str, Start | Wait] = {job.id: Wait(RayIsSilent()) for job in in_line}
        return Decisions(silent | _backing_off(queue, silent), ledger.accounts)
    walk = _Walk(in_line, ledger, ledger.total, now)
    outcomes = {job.id: walk.judge(job) for job in walk.in_order()}
    return Decisions(_numbered(outcomes) | _backing_off(queue, outcomes), walk.accounts())


def why_not_reserve(reservation: Job, ledger: Ledger) -> Why | None:
    """Why a new reservation can't be: its team's quotas, or no room beside what is reserved already; None if it can.

    It starts at once and waits for nobody, so it has to fit beside other reservations, and not beside running jobs: theirs
    end.
    """
    why: Why | None = _Line(reservation.team, ledger).why_not(reservation)
    if why is not None or ledger.total is None:
        return why
    return _why_never(reservation, ledger, _beside(ledger.pinned, ledger.total))


def _beside(pinned: Mapping[str, ClusterResources], total: ClusterResources) -> Room:
    """What is left of a cluster once every job has ended."""
    return Room(_amounts(total - sum(pinned.values(), ClusterResources())))


def _why_never(job: Job, ledger: Ledger, most: Room) -> NeverFits | None:
    amounts = _amounts(_need(job, ledger.pinned))
    what = most.lacking(amounts)
    return NeverFits(what, amounts[what], most.left[what]) if what else None


def _need(job: Job, there: Container[str]) -> ClusterResources:
    need = job.takes
    for name, size in job.teachers.items():
        if name not in there:
            need += size
    return need


def _numbered(outcomes: dict[str, Why | None]) -> dict[str, Start | Wait]:
    num_waiting = sum(why is not None for why in outcomes.values())
    decided: dict[str, Start | Wait] = {}
    position = 0
    for job, why in outcomes.items():
        position += why is not None
        decided[job] = Start() if why is None else Wait(why, position, num_waiting)
    return decided


def _backing_off(queue: Iterable[Job], in_line: Container[str]) -> dict[str, Start | Wait]:
    return {job.id: Wait(BacksOff()) for job in queue if job.id not in in_line}


class _Walk:
    """One look at the whole queue, with what those who came before have taken or have had kept for them."""

    def __init__(self, queue: Sequence[Job], ledger: Ledger, total: ClusterResources, now: datetime) -> None:
        self._ledger, self._total, self._now = ledger, total, now
        self._there, self._running = dict(ledger.there), list(ledger.running)
        held = [*(job.takes for job in ledger.running), *ledger.there.values()]
        self._room = Room(_amounts(total - sum(held, ClusterResources())))
        most = _beside(ledger.pinned, total)
        self._never = {job.id: _why_never(job, ledger, most) for job in queue}
        self._lines = {name: _Line(name, ledger) for name in sorted({job.team for job in queue})}
        for job in queue:
            self._lines[job.team].jobs.append(job)
        self._settled = self._settle()
        self._rank()

    def accounts(self) -> TeamAccounts | None:
        """What is to be remembered, with those that have started now."""
        return self._settled and self._settled.model_copy(update={"pace": self._pace()})

    def in_order(self) -> Iterable[Job]:
        """The jobs, as they come up; what became of one decides who is next."""
        waiting = [(line.rank, line.next_since, line.name) for line in self._lines.values()]
        heapq.heapify(waiting)
        while waiting:
            line = self._lines[heapq.heappop(waiting)[2]]
            yield line.jobs.pop()
            if line.jobs:
                heapq.heappush(waiting, (line.rank, line.next_since, line.name))

    def judge(self, job: Job) -> Why | None:
        """Why the job waits; None if it starts, and then it has what it needs."""
        line, need = self._lines[job.team], _need(job, self._there)
        if why := self._never[job.id] or line.why_not(job):
            if isinstance(why, OverQuota) and why.needed <= why.granted and self._is_old(job):
                line.quota.keep(line.team.counts(job))
            return why
        line.charge(need, self._total)
        amounts = _amounts(need)
        what = self._room.lacking(amounts)
        if what or self._room.is_kept(amounts):
            if self._is_old(job):
                self._room.keep(amounts)
                line.quota.keep(line.team.counts(job))
            return Lacks(what, amounts[what], self._room.left[what]) if what else IsKept()
        self._room.take(amounts)
        line.quota.take(line.team.counts(job))
        self._there = {**job.teachers, **self._there}
        self._running.append(job)
        return None

    def _is_old(self, job: Job) -> bool:
        return self._now - job.waits_since >= timedelta(seconds=PATIENCE_S)

    def _settle(self) -> TeamAccounts | None:
        contending = {
            line.name
            for line in self._lines.values()
            if any(not line.why_not(job) and not self._never[job.id] for job in line.jobs)
        }
        return settle(self._ledger.accounts, contending, self._now)

    def _rank(self) -> None:
        ahead_s, pace = self._settled.ahead_s if self._settled else {}, self._pace()
        for line in self._lines.values():
            line.rank = ahead_s.get(line.name, 0.0) + HORIZON_S * pace.get(line.name, 0.0)
            line.jobs.sort(key=lambda job: (-job.priority, job.created_at, job.id), reverse=True)

    def _pace(self) -> dict[str, float]:
        held = held_by_teams(self._running, self._there)
        weights = {team: self._ledger.teams.get(team, Team()).granted.weight for team in held}
        return {team: dominant_share(one, self._total) / weights[team] for team, one in held.items()}


class _Line:
    """A team's jobs that wait, the next one last, and what its quotas leave it."""

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name = name
        self.jobs: list[Job] = []
        self.rank = 0.0
        """Seconds of a whole cluster that it has had, or will, by its weight: the least comes next."""
        self.team = ledger.teams.get(name, Team())
        self._quotas = self.team.quotas
        self.quota = Room(self._quotas)
        for job in ledger.running:
            if job.team == name:
                self.quota.take(self.team.counts(job))

    @property
    def next_since(self) -> datetime:
        """When the job was made that is next."""
        return self.jobs[-1].created_at

    def why_not(self, job: Job) -> OverQuota | QuotaIsKept | MonthIsOver | None:
        """The quota that a job waits for, if one."""
        monthly = self.team.granted.max_teacher_rows_per_month
        if job.teachers and monthly is not None and self.team.rows_this_month >= monthly:
            return MonthIsOver(self.team.rows_this_month, monthly)
        counts = self.team.counts(job)
        what = self.quota.lacking(counts)
        if what is not None:
            granted = self._quotas[what]
            return OverQuota(what, counts[what], granted - self.quota.left[what], granted)
        return QuotaIsKept() if self.quota.is_kept(counts) else None

    def charge(self, need: ClusterResources, total: ClusterResources) -> None:
        """Count what a job takes, or will: the place of one that waits is its team's all the same."""
        self.rank += HORIZON_S * dominant_share(need, total) / self.team.granted.weight


def _amounts(resources: ClusterResources) -> dict[str, float]:
    return {"gpus": resources.gpus, "cpus": resources.cpus}
