"""What holds of every decision, whatever the queue and the ledger."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from distill.contracts.teams import TeamAccounts, TeamSpec
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scheduling.jobs import Decisions, Job, Ledger, Start, Team, Wait
from services.control_plane.scheduling.policy import PATIENCE_S, decide
from services.control_plane.scheduling.room import TOLERANCE
from services.control_plane.scheduling.words import IsKept, Lacks
from tests.services.control_plane.records import NOON, at

TEAMS = ("a", "b", "c")
SIZES = {f"teacher-{n}": ClusterResources(cpus=n, gpus=n // 2) for n in (1, 2, 3)}
MANY = 60

amounts = st.sampled_from((0.1, 0.5, 1.0, 2.0, 4.0))
quotas = st.fixed_dictionaries(
    {"weight": st.sampled_from((0.5, 1.0, 3.0))},
    optional={
        "max_jobs": st.integers(0, 4),
        "max_workers": st.integers(0, 8),
        "max_gpus": st.sampled_from((0.0, 1.0, 2.5)),
        "max_teacher_rows_per_s": st.sampled_from((0.0, 100.0, 1000.0)),
        "max_teacher_rows_per_month": st.just(100),
    },
)


@st.composite
def jobs(draw: st.DrawFn, prefix: str, most: int) -> list[Job]:
    """Up to ``most`` jobs."""
    count = draw(st.integers(0, most))
    return [
        Job(
            f"{prefix}-{number}",
            draw(st.sampled_from(TEAMS)),
            at(-draw(st.sampled_from((0.0, 1.0, 2.0, PATIENCE_S, 2 * PATIENCE_S)))),
            ClusterResources(cpus=draw(amounts), gpus=draw(st.sampled_from((0.0, 0.0, 0.5, 1.0)))),
            num_workers=draw(st.integers(1, 4)),
            teachers={name: SIZES[name] for name in draw(st.sets(st.sampled_from(sorted(SIZES)), max_size=2))},
            rows_per_s=draw(st.sampled_from((None, 50.0, 500.0))),
            priority=draw(st.integers(-1, 1)),
            not_before=draw(st.sampled_from((None, None, at(-1), at(1)))),
        )
        for number in range(count)
    ]


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    """A cluster and who has what of it; nodes may have left it, and an operator may have lowered a quota."""
    running = draw(jobs("running", 4))
    pinned = {name: SIZES[name] for name in draw(st.sets(st.sampled_from(sorted(SIZES)), max_size=1))}
    idle = {name: SIZES[name] for name in draw(st.sets(st.sampled_from(sorted(SIZES)), max_size=1))}
    there = idle | pinned | {name: SIZES[name] for job in running for name in job.teachers}
    teams = {
        team: Team(TeamSpec(**draw(quotas)), rows_this_month=draw(st.sampled_from((0, 99, 100))))
        for team in draw(st.sets(st.sampled_from(TEAMS)))
    }
    accounts = TeamAccounts(
        at=at(-60),
        ahead_s=draw(st.dictionaries(st.sampled_from(TEAMS), st.floats(0, 1000))),
        pace=draw(st.dictionaries(st.sampled_from(TEAMS), st.floats(0, 1))),
    )
    total = ClusterResources(cpus=draw(st.sampled_from((1.0, 4.0, 8.0, 16.0))), gpus=draw(st.sampled_from((0.0, 4.0))))
    return Ledger(total, running, there, pinned, teams, draw(st.sampled_from((None, accounts))))


queues = jobs("job", 10)


def starts(decided: Decisions, queue: list[Job]) -> list[Job]:
    """The jobs that start, in order."""
    known = {job.id: job for job in queue}
    return [known[identity] for identity, decision in decided.of_jobs.items() if decision == Start()]


def used(running: list[Job], there: dict[str, ClusterResources]) -> ClusterResources:
    """What workers and replicas take together."""
    replicas = there | {name: size for job in running for name, size in job.teachers.items() if name not in there}
    return sum([*(job.takes for job in running), *replicas.values()], ClusterResources())


@given(queues, ledgers())
@settings(max_examples=MANY)
def test_each_job_of_the_queue_has_one_decision_and_each_that_is_in_line_a_position(queue: list[Job], ledger: Ledger):
    decided = decide(queue, ledger, NOON).of_jobs
    assert sorted(decided) == sorted(job.id for job in queue)
    positions = [one.position for one in decided.values() if isinstance(one, Wait) and one.position is not None]
    assert positions == list(range(1, len(positions) + 1))
    out_of_line = {job.id for job in queue if job.not_before is not None and job.not_before > NOON}
    assert {name for name, one in decided.items() if isinstance(one, Wait) and one.reason is None} == out_of_line


@given(queues, ledgers())
@settings(max_examples=MANY)
def test_what_starts_fits_with_all_the_replicas_that_it_needs(queue: list[Job], ledger: Ledger):
    begun = starts(decide(queue, ledger, NOON), queue)
    before, after = used(list(ledger.running), dict(ledger.there)), used([*ledger.running, *begun], dict(ledger.there))
    assert ledger.total is not None
    for what in ("cpus", "gpus"):
        most = max(getattr(ledger.total, what), getattr(before, what))  # where nodes have left, nothing more is taken
        assert getattr(after, what) <= most + TOLERANCE, what


@given(queues, ledgers())
@settings(max_examples=MANY)
def test_no_quota_is_ever_exceeded_by_what_starts(queue: list[Job], ledger: Ledger):
    begun = starts(decide(queue, ledger, NOON), queue)
    for team in {job.team for job in begun} & ledger.teams.keys():
        one = ledger.teams[team]
        now = [job for job in [*ledger.running, *begun] if job.team == team]
        new = [job for job in begun if job.team == team]
        taught = [job for job in now if job.teachers]
        most = one.granted.max_teacher_rows_per_s
        for bound, value, adds in (
            (one.granted.max_jobs, len(now), True),
            (one.granted.max_workers, sum(job.num_workers for job in now), True),
            (one.granted.max_gpus, sum(job.takes.gpus for job in now), any(job.takes.gpus for job in new)),
            (
                most,
                sum(most or 1 if j.rows_per_s is None else j.rows_per_s for j in taught),
                any(j.teachers for j in new),
            ),
        ):
            assert bound is None or not adds or value <= bound + TOLERANCE
        monthly = one.granted.max_teacher_rows_per_month
        assert monthly is None or one.rows_this_month < monthly or not any(job.teachers for job in new)


@given(queues, ledgers(), st.randoms())
@settings(max_examples=MANY)
def test_the_order_in_which_the_queue_is_told_does_not_matter(queue: list[Job], ledger: Ledger, random: Any):
    shuffled = list(queue)
    random.shuffle(shuffled)
    assert decide(queue, ledger, NOON) == decide(shuffled, ledger, NOON)


@given(queues, ledgers())
@settings(max_examples=MANY)
def test_of_an_unknown_cluster_nothing_is_started(queue: list[Job], ledger: Ledger):
    assert starts(decide(queue, replace(ledger, total=None), NOON), queue) == []


@given(queues, ledgers())
@settings(max_examples=MANY)
def test_room_is_left_idle_only_for_a_job_that_has_waited_long(queue: list[Job], ledger: Ledger):
    decided = decide(queue, ledger, NOON)
    begun = starts(decided, queue)
    there = dict(ledger.there) | {name: size for job in begun for name, size in job.teachers.items()}
    assert ledger.total is not None
    free = ledger.total - used([*ledger.running, *begun], there)
    for_room = defaultdict(list)
    for job in queue:
        wait = decided.of_jobs[job.id]
        if isinstance(wait, Wait) and isinstance(wait.why, Lacks | IsKept):
            for_room[(NOON - job.waits_since).total_seconds() >= PATIENCE_S].append(job)
    for job in for_room[False] if not for_room[True] else []:
        missing = sum((size for name, size in job.teachers.items() if name not in there), ClusterResources())
        assert not free.holds(job.takes + missing)


@given(queues, ledgers())
@settings(max_examples=MANY)
def test_on_an_idle_cluster_something_starts_if_anything_can(queue: list[Job], ledger: Ledger):
    idle = replace(ledger, running=(), there=dict(ledger.pinned))
    decided = decide(queue, idle, NOON)
    waits_for_room = [one for one in decided.of_jobs.values() if isinstance(one, Wait) and isinstance(one.why, Lacks)]
    assert starts(decided, queue) or not waits_for_room


@given(queues, ledgers())
@settings(max_examples=MANY)
def test_nobody_but_its_betters_delays_a_job_that_has_waited_long(queue: list[Job], ledger: Ledger):
    """Without those that come after it in the queue, it finds no more room than it does with them."""
    decided = decide(queue, ledger, NOON).of_jobs
    known = {job.id: job for job in queue}
    order = list(decided)
    for place, identity in enumerate(order):
        wait = decided[identity]
        is_old = (NOON - known[identity].waits_since).total_seconds() >= PATIENCE_S
        if isinstance(wait, Wait) and isinstance(wait.why, Lacks) and is_old:
            taken = [known[one] for one in order[place + 1 :] if decided[one] == Start()]
            for later in taken:
                assert getattr(later.takes, wait.why.what) == 0, f"{later} took {wait.why.what} before {identity}"
