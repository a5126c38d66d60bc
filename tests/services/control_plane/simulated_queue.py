"""The queue's policy over simulated time: jobs come, start as it decides, hold what they take, and end.

`python -m tests.services.control_plane.simulated_queue` prints the figures that are quoted in
docs/decisions/0013-the-queue-between-teams.md.
Every decision is checked on the way: nothing is over-committed, no quota exceeded, and no room left idle without need.
"""

import heapq
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from distill.contracts.teams import TeamAccounts, TeamSpec
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scheduling.jobs import Decisions, Job, Ledger, Start, Team, Wait
from services.control_plane.scheduling.policy import PATIENCE_S, decide
from services.control_plane.scheduling.shares import dominant_share
from services.control_plane.scheduling.words import IsKept, Lacks
from tests.services.control_plane.records import at

Draw = Callable[[random.Random], tuple[ClusterResources, float]]
"""What a job takes, and for how many seconds."""


@dataclass(frozen=True)
class Submitting:
    """A team and what it submits."""

    name: str
    draw: Draw
    backlog: int = 4
    """So many of its jobs wait all the time; the next comes when one starts. None come by themselves."""
    every_s: float | None = None
    """Or one comes every so many seconds, whatever has become of the others."""
    granted: TeamSpec = field(default_factory=TeamSpec)
    teacher: str | None = None
    """The application that each of its jobs needs."""


@dataclass
class Outcome:
    """What became of a simulation."""

    had: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Team -> its dominant share of the cluster times seconds, while all teams were there."""
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Team -> seconds that each of its jobs waited."""
    busy: float = 0.0
    """Of the CPUs, the mean share in use."""
    num_ended: int = 0
    num_decisions: int = 0
    ended_s: float = 0.0
    """Simulated."""

    def shares(self, weights: Mapping[str, float] | None = None) -> dict[str, float]:
        """Team -> what it had by its weight, of all that was had."""
        by_weight = {team: had / (weights or {}).get(team, 1.0) for team, had in self.had.items()}
        return {team: one / sum(by_weight.values()) for team, one in by_weight.items()}

    def jain(self, weights: Mapping[str, float] | None = None) -> float:
        """Jain's index of fairness (Jain, Chiu, Hawe, 1984): 1 where all had the same, 1/n where one had all."""
        shares = list(self.shares(weights).values())
        return sum(shares) ** 2 / (len(shares) * sum(one * one for one in shares))


class Simulation:
    """One cluster, its teams, and a clock that leaps from event to event."""

    def __init__(
        self,
        total: ClusterResources,
        teams: Iterable[Submitting],
        *,
        seed: int,
        replica: ClusterResources | None = None,
    ) -> None:
        """``replica`` is what the teacher takes that a team names."""
        self._total, self._replica = total, replica or ClusterResources()
        self._teams = {team.name: team for team in teams}
        self._random = random.Random(seed)
        self._granted = {team.name: Team(team.granted) for team in self._teams.values()}
        self._lengths: dict[str, float] = {}
        self._waiting: dict[str, Job] = {}
        self._running: dict[str, Job] = {}
        self._ends: list[tuple[float, str]] = []
        self._arrivals: list[tuple[float, str]] = []
        self._accounts: TeamAccounts | None = None
        self._now = 0.0
        self._busy = 0.0
        self._number = 0
        self.outcome = Outcome()

    def run(self, num_jobs: int) -> Outcome:
        """Until so many jobs have ended."""
        self._begin()
        while self.outcome.num_ended < num_jobs:
            self._decide()
            assert self._ends or self._arrivals, f"deadlock at {self._now:.0f} s: {len(self._waiting)} wait, none runs"
            self._leap()
        self.outcome.ended_s = self._now
        self.outcome.busy = self._busy / self._now
        return self.outcome

    def _begin(self) -> None:
        for team in self._teams.values():
            if team.every_s is None:
                for _ in range(team.backlog):
                    self._submit(team)
            else:
                heapq.heappush(self._arrivals, (self._random.uniform(0, team.every_s), team.name))

    def _submit(self, team: Submitting) -> None:
        self._number += 1
        takes, seconds = team.draw(self._random)
        teachers = {team.teacher: self._replica} if team.teacher else {}
        job = Job(f"{team.name}-{self._number}", team.name, at(self._now), takes, teachers=teachers)
        self._waiting[job.id] = job
        self._lengths[job.id] = seconds

    def _decide(self) -> None:
        ledger = self._ledger()
        decided = decide(list(self._waiting.values()), ledger, at(self._now))
        self._accounts = decided.accounts
        self.outcome.num_decisions += 1
        for identity, decision in decided.of_jobs.items():
            if isinstance(decision, Start):
                self._start(self._waiting.pop(identity))
        self._check(decided, ledger)

    def _ledger(self) -> Ledger:
        running = list(self._running.values())
        there = {name: size for job in running for name, size in job.teachers.items()}
        return Ledger(self._total, running, there, teams=self._granted, accounts=self._accounts)

    def _start(self, job: Job) -> None:
        self._running[job.id] = job
        heapq.heappush(self._ends, (self._now + self._lengths.pop(job.id), job.id))
        self.outcome.waits[job.team].append(self._now - (job.created_at - at(0)).total_seconds())
        team = self._teams[job.team]
        if team.every_s is None:
            self._submit(team)

    def _check(self, decided: Decisions, before: Ledger) -> None:
        used = self._used()
        assert self._total.holds(used), f"over-committed at {self._now:.0f} s: {used} of {self._total}"
        for team in self._teams.values():
            most, jobs = team.granted.max_jobs, sum(job.team == team.name for job in self._running.values())
            assert most is None or jobs <= most, f"{team.name} has {jobs} jobs under way, and may have {most}"
        waits = {identity: one for identity, one in decided.of_jobs.items() if isinstance(one, Wait)}
        old = [one for one in waits if self._waited_s(one) >= PATIENCE_S and isinstance(waits[one].why, Lacks | IsKept)]
        free, there = self._total - used, self._ledger().there
        for identity in [one for one, wait in waits.items() if isinstance(wait.why, Lacks | IsKept) and not old]:
            job = self._waiting[identity]
            missing = [size for name, size in job.teachers.items() if name not in there]
            assert not free.holds(sum(missing, job.takes)), f"{identity} fits, and waits for nobody"
        if waits and not before.running and not self._running:
            raise AssertionError(f"nothing runs and nothing starts at {self._now:.0f} s: {waits}")

    def _used(self) -> ClusterResources:
        there = {name: size for job in self._running.values() for name, size in job.teachers.items()}
        return sum([*(job.takes for job in self._running.values()), *there.values()], ClusterResources())

    def _waited_s(self, identity: str) -> float:
        return (at(self._now) - self._waiting[identity].waits_since) / timedelta(seconds=1)

    def _leap(self) -> None:
        ends, comes = self._ends[0][0] if self._ends else None, self._arrivals[0][0] if self._arrivals else None
        # one that has waited long enough to be passed no more changes nothing that could start: no event of its own
        moment = min(one for one in (ends, comes) if one is not None)
        self._account(moment - self._now)
        self._now = moment
        while self._ends and self._ends[0][0] <= moment:
            del self._running[heapq.heappop(self._ends)[1]]
            self.outcome.num_ended += 1
        while self._arrivals and self._arrivals[0][0] <= moment:
            team = self._teams[heapq.heappop(self._arrivals)[1]]
            self._submit(team)
            assert team.every_s is not None
            heapq.heappush(self._arrivals, (moment + team.every_s, team.name))

    def _account(self, seconds: float) -> None:
        self._busy += seconds * self._used().cpus / self._total.cpus
        held: dict[str, ClusterResources] = defaultdict(ClusterResources)
        for job in self._running.values():
            held[job.team] += job.takes
        for team in self._teams:
            self.outcome.had[team] += seconds * dominant_share(held[team], self._total)


def small(random: random.Random) -> tuple[ClusterResources, float]:
    """Half a CPU to two, for half a minute to many, log-normal around four minutes."""
    return ClusterResources(cpus=random.choice((0.5, 1.0, 2.0))), min(max(random.lognormvariate(5.5, 0.8), 30), 1800)


def medium(random: random.Random) -> tuple[ClusterResources, float]:
    """Two CPUs to eight, for ten minutes to an hour."""
    return ClusterResources(cpus=random.choice((2.0, 4.0, 8.0))), random.uniform(600, 3600)


def on_gpus(random: random.Random) -> tuple[ClusterResources, float]:
    """A GPU or two and few CPUs."""
    gpus = random.choice((1.0, 2.0))
    return ClusterResources(cpus=gpus, gpus=gpus), random.uniform(120, 1200)


def whole(total: ClusterResources, seconds: float) -> Draw:
    """All of a cluster, for so long."""
    return lambda _: (total, seconds)


CLUSTER = ClusterResources(cpus=16, gpus=8)
EQUAL = (Submitting("a", small), Submitting("b", medium), Submitting("c", on_gpus), Submitting("d", small))
"""Teams whose jobs are as unlike as can be, and who always want more."""

WEIGHTS = {"a": 1.0, "b": 2.0, "c": 4.0}
WEIGHTED = tuple(Submitting(name, small, granted=TeamSpec(weight=weight)) for name, weight in WEIGHTS.items())

BIG_S = 600.0
LONGEST_SMALL_S = 1800.0
BIG_AMONG_SMALL = (
    *(Submitting(f"small-{n}", small) for n in range(3)),
    Submitting("big", whole(CLUSTER, BIG_S), every_s=12 * BIG_S),
)
"""Three teams that always have small jobs, and one that now and then needs the whole cluster."""

BOUND_S = PATIENCE_S + 2 * LONGEST_SMALL_S + 3 * BIG_S
"""The others catch up with what the last big job had, which takes three times as long as it ran; it is then passed for at
most `PATIENCE_S`, and starts when what runs has ended, at most twice over."""


def main() -> None:
    """Print the figures."""
    begun = time.process_time()
    equal = Simulation(CLUSTER, EQUAL, seed=0).run(10_000)
    _print("4 unlike teams of equal weight, always backlogged", equal)
    print(f"  Jain's index {equal.jain():.4f}")
    weighted = Simulation(CLUSTER, WEIGHTED, seed=0).run(10_000)
    _print("3 teams of weights 1, 2, 4, always backlogged", weighted)
    print(f"  Jain's index by weight {weighted.jain(WEIGHTS):.4f}")
    big = Simulation(CLUSTER, BIG_AMONG_SMALL, seed=0).run(10_000)
    _print("jobs of the whole cluster among small ones", big)
    waits = big.waits["big"]
    print(f"  {len(waits)} big jobs waited {max(waits):,.0f} s at most, bound {BOUND_S:,.0f} s")
    print(f"{time.process_time() - begun:.1f} s of CPU time")


def _print(title: str, outcome: Outcome) -> None:
    shares = ", ".join(f"{team} {share:.3f}" for team, share in outcome.shares().items())
    print(
        f"{title}: {outcome.num_ended:,} jobs in {outcome.ended_s / 3600:,.0f} h, {outcome.num_decisions:,} decisions"
    )
    print(f"  shares {shares}; CPUs in use {outcome.busy:.2f}")


if __name__ == "__main__":
    main()
