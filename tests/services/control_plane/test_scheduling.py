"""The queue's policy, one promise a test."""

from typing import Any

import pytest

from distill.contracts.teams import TeamAccounts, TeamSpec
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scheduling.jobs import Job, Ledger, Start, Team, Wait
from services.control_plane.scheduling.policy import PATIENCE_S, decide
from services.control_plane.scheduling.shares import settle
from services.control_plane.scheduling.words import ordinal
from tests.services.control_plane.records import NOON, at

TOTAL = ClusterResources(cpus=8, gpus=2)
WISE = {"teacher-wise-1": ClusterResources(cpus=1, gpus=1)}
OLD = -PATIENCE_S
"""Submitted so long before noon that it is passed no more."""


def a_job(identity: str, team: str = "a", *, cpus: float = 1, gpus: float = 0, s: float = 0, **more: Any) -> Job:
    """A job that was submitted ``s`` seconds after noon."""
    return Job(identity, team, at(s), ClusterResources(cpus=cpus, gpus=gpus), **more)


def a_ledger(*running: Job, total: ClusterResources | None = TOTAL, **more: Any) -> Ledger:
    return Ledger(total, running, **more)


def started(*queue: Job, ledger: Ledger | None = None, s: float = 0) -> list[str]:
    """The jobs that start, in order."""
    decided = decide(queue, ledger or a_ledger(), at(s)).of_jobs
    return [identity for identity, decision in decided.items() if decision == Start()]


def reason(identity: str, *queue: Job, ledger: Ledger | None = None) -> tuple[str, str]:
    """Why that job of the queue waits at noon: code and text."""
    decision = decide(queue, ledger or a_ledger(), NOON).of_jobs[identity]
    assert isinstance(decision, Wait)
    assert decision.reason is not None
    return decision.reason.code, decision.reason.text


def granting(**quotas: Any) -> dict[str, Team]:
    """Team ``a`` with these quotas."""
    return {"a": Team(TeamSpec(**quotas))}


# One team


def test_one_teams_jobs_start_oldest_first_as_far_as_there_is_room():
    queue = [a_job("third", cpus=3, s=-1), a_job("first", cpus=3, s=-3), a_job("second", cpus=3, s=-2)]
    assert started(*queue) == ["first", "second"]
    assert reason("third", *queue) == ("waiting_for_resources", "waiting for 3 CPUs (2 free)")


def test_within_a_team_the_higher_priority_goes_first_whatever_its_age():
    queue = [a_job("old", cpus=8, s=-9), a_job("urgent", cpus=8, priority=1), a_job("idle", cpus=8, priority=-1)]
    assert started(*queue) == ["urgent"]
    assert reason("old", *queue)[1].startswith("1st of 2 in the queue; ")
    assert reason("idle", *queue)[1].startswith("2nd of 2 in the queue; ")


def test_priority_is_among_the_teams_own_jobs_alone():
    queue = [a_job("urgent", "a", cpus=8, priority=100), a_job("older", "b", cpus=8, s=-1)]
    assert started(*queue) == ["older"]


def test_a_job_that_backs_off_is_out_of_line_and_keeps_its_reason():
    queue = [a_job("later", not_before=at(1)), a_job("now")]
    decided = decide(queue, a_ledger(), NOON).of_jobs
    assert decided["now"] == Start()
    assert isinstance(decided["later"], Wait)
    assert decided["later"].reason is None
    assert started(*queue, s=1) == ["later", "now"]


def test_while_ray_is_silent_nothing_starts_and_nothing_is_forgotten():
    accounts = TeamAccounts(at=NOON, ahead_s={"a": 5.0})
    queue = [a_job("one"), a_job("backs-off", not_before=at(90))]
    decided = decide(queue, a_ledger(total=None, accounts=accounts), at(60))
    wait, backs_off = decided.of_jobs.values()
    assert isinstance(wait, Wait)
    assert isinstance(backs_off, Wait)
    assert backs_off.reason is None
    assert wait.reason is not None
    assert (wait.reason.code, wait.reason.text) == ("waiting_for_cluster", "waiting for Ray to answer")
    assert decided.accounts == accounts


# Gangs


def test_workers_and_teacher_start_together_or_wait():
    taught, ledger = a_job("taught", cpus=6.5, teachers=WISE), a_ledger(a_job("running", "b", cpus=1))
    assert started(taught, ledger=ledger) == []
    assert reason("taught", taught, ledger=ledger) == ("waiting_for_resources", "waiting for 7.5 CPUs (7 free)")
    assert started(taught) == ["taught"]


def test_two_jobs_of_one_teacher_pay_for_it_once():
    both = [a_job("one", cpus=3.5, teachers=WISE), a_job("two", cpus=3.5, teachers=WISE)]
    assert started(*both) == ["one", "two"]
    assert started(*both, ledger=a_ledger(there=WISE)) == ["one", "two"]


def test_what_can_never_fit_says_so_and_holds_up_nobody():
    queue = [a_job("huge", cpus=9, s=OLD), a_job("small")]
    assert started(*queue) == ["small"]
    text = "needs 9 CPUs, and the cluster has 8 for it at most"
    assert reason("huge", *queue) == ("waiting_for_resources", text)


def test_what_a_reserved_teacher_takes_is_not_waited_for():
    ledger = a_ledger(there=WISE, pinned=WISE)
    queue = [a_job("whole", cpus=8, s=OLD), a_job("small")]
    assert started(*queue, ledger=ledger) == ["small"]
    assert reason("whole", *queue, ledger=ledger)[1] == "needs 8 CPUs, and the cluster has 7 for it at most"
    assert started(a_job("its-own", cpus=7, teachers=WISE), ledger=ledger) == ["its-own"]


# Passing


def test_a_small_job_passes_a_blocked_one_that_has_not_waited_long():
    ledger = a_ledger(a_job("running", "c", cpus=4))
    assert started(a_job("big", "b", cpus=8, s=-1), a_job("small"), ledger=ledger) == ["small"]


def test_what_a_job_needs_that_has_waited_long_is_kept_for_it():
    ledger = a_ledger(a_job("running", "c", cpus=4))
    queue = [a_job("big", "b", cpus=8, s=OLD), a_job("small")]
    assert started(*queue, ledger=ledger) == []
    code, text = reason("small", *queue, ledger=ledger)
    assert code == "waiting_for_turn"
    assert text == ("2nd of 2 in the queue; waiting for its turn: what is free is kept for jobs that have waited long")


def test_what_takes_nothing_that_is_waited_for_passes_all_the_same():
    ledger = a_ledger(a_job("running", "c", cpus=1, gpus=2))
    queue = [a_job("on-gpus", "b", cpus=2, gpus=2, s=OLD), a_job("on-cpus", cpus=5)]
    assert started(*queue, ledger=ledger) == ["on-cpus"]
    assert started(queue[0], a_job("on-cpus", cpus=6), ledger=ledger) == []


# Between teams


def test_the_team_that_holds_less_comes_first():
    ledger = a_ledger(a_job("running", "a", cpus=4))
    assert started(a_job("as", "a", cpus=4, s=-9), a_job("bs", "b", cpus=4), ledger=ledger) == ["bs"]


def test_what_is_held_counts_by_what_is_scarce():
    ledger = a_ledger(a_job("cpus", "a", cpus=3), a_job("gpus", "b", cpus=1, gpus=1))  # 3/8 beside 1/2
    assert started(a_job("as", "a", cpus=3), a_job("bs", "b", cpus=3, s=-9), ledger=ledger) == ["as"]


def test_a_shared_teacher_counts_for_those_who_ask_it_in_equal_parts():
    big = {"teacher-wise-1": ClusterResources(cpus=4)}
    users = [a_job("one", "a", teachers=big), a_job("two", "b", teachers=big)]
    ledger = a_ledger(*users, there=big)  # a and b hold 1 + 4/2
    queue = [a_job("as", "a", cpus=2, s=-9), a_job("cs", "c", cpus=2)]
    assert started(*queue, ledger=ledger) == ["cs"]
    alone = a_ledger(users[0], a_job("cs-first", "c", cpus=4), total=ClusterResources(cpus=12), there=big)
    assert started(a_job("as", cpus=3, s=-9), a_job("cs", "c", cpus=3), ledger=alone) == ["cs"]


def test_weight_counts():
    ledger = a_ledger(a_job("as", "a", cpus=3), a_job("bs", "b", cpus=2), teams={"a": Team(TeamSpec(weight=2))})
    assert started(a_job("more-as", "a", cpus=3), a_job("more-bs", "b", cpus=3, s=-9), ledger=ledger) == ["more-as"]


def test_who_has_had_more_comes_later_though_it_holds_nothing_now():
    ledger = a_ledger(accounts=TeamAccounts(at=NOON, ahead_s={"a": 60.0, "b": 0.0}))
    assert started(a_job("as", "a", cpus=8, s=-9), a_job("bs", "b", cpus=8), ledger=ledger) == ["bs"]


def test_accounts_rise_by_share_and_weight_while_others_wait():
    ledger = a_ledger(a_job("as", "a", cpus=8), teams={"a": Team(TeamSpec(weight=2))})
    first = decide([a_job("bs", "b", cpus=8)], ledger, NOON).accounts
    assert first == TeamAccounts(at=NOON, ahead_s={"b": 0.0}, pace={"a": 0.5})
    later = settle(first, {"a", "b"}, at(60))
    assert later is not None
    assert later.ahead_s == {"a": 30.0, "b": 0.0}


def test_a_team_that_comes_back_begins_with_the_one_that_has_had_least():
    had = TeamAccounts(at=NOON, ahead_s={"a": 100.0, "b": 40.0}, pace={"a": 0.5, "b": 0.25})
    settled = settle(had, {"a", "b", "new"}, at(60))
    assert settled is not None
    assert settled.ahead_s == {"a": 75.0, "b": 0.0, "new": 0.0}  # 130, 55, and as little as b


def test_where_nobody_waits_for_room_all_begin_anew():
    assert settle(TeamAccounts(at=NOON, ahead_s={"a": 100.0}), set(), at(60)) is None
    over_quota = a_ledger(teams=granting(max_jobs=0), accounts=TeamAccounts(at=NOON, ahead_s={"b": 9.0}))
    assert decide([a_job("one")], over_quota, at(1)).accounts is None


def test_positions_alternate_between_teams_as_turns_will():
    ledger = a_ledger(a_job("running", "z", cpus=8))
    queue = [a_job(f"a{n}", "a", cpus=4, s=n - 9) for n in range(3)] + [a_job(f"b{n}", "b", cpus=4) for n in range(2)]
    decided = decide(queue, ledger, NOON).of_jobs
    assert list(decided) == ["a0", "b0", "a1", "b1", "a2"]
    assert [wait.position for wait in decided.values() if isinstance(wait, Wait)] == [1, 2, 3, 4, 5]


# Quotas


@pytest.mark.parametrize(
    ("quotas", "text"),
    [
        ({"max_jobs": 1}, "waiting for its team's quota of 1 job at a time (1 in use, it needs 1)"),
        ({"max_workers": 5}, "waiting for its team's quota of 5 workers (4 in use, it needs 2)"),
        ({"max_gpus": 1.5}, "waiting for its team's quota of 1.5 GPUs (1 in use, it needs 1)"),
        (
            {"max_teacher_rows_per_s": 10_000},
            "waiting for its team's quota of 10,000 teacher rows/s (8,000 in use, it needs 4,000)",
        ),
        ({"max_workers": 1}, "its team's quota is 1 worker, and it needs 2: ask for less, or the operator for more"),
    ],
)
def test_each_quota_is_kept_and_named(quotas: dict[str, Any], text: str):
    running = a_job("running", gpus=1, num_workers=4, teachers=WISE, rows_per_s=8000)
    ledger = a_ledger(running, total=ClusterResources(cpus=99, gpus=99), there=WISE, teams=granting(**quotas))
    job = a_job("next", gpus=1, num_workers=2, teachers=WISE, rows_per_s=4000)
    assert reason("next", job, ledger=ledger) == ("waiting_for_quota", text)
    assert started(a_job("others", "b", gpus=1), job, ledger=ledger) == ["others"]


def test_a_job_that_declares_no_rows_counts_for_the_whole_quota():
    ledger = a_ledger(there=WISE, teams=granting(max_teacher_rows_per_s=1000))
    assert started(a_job("one", teachers=WISE), a_job("two", teachers=WISE), a_job("own"), ledger=ledger) == [
        "one",
        "own",
    ]


def test_a_quota_of_no_rows_lets_no_taught_job_start():
    ledger = a_ledger(there=WISE, teams=granting(max_teacher_rows_per_s=0))
    queue = [a_job("taught", teachers=WISE), a_job("alone")]
    assert started(*queue, ledger=ledger) == ["alone"]
    assert reason("taught", *queue, ledger=ledger)[1].startswith("its team's quota is 0 teacher rows/s, and it needs 1")


def test_used_up_rows_of_the_month_stop_taught_jobs_alone():
    teams = {"a": Team(TeamSpec(max_teacher_rows_per_month=1000), rows_this_month=1001)}
    queue = [a_job("taught", teachers=WISE), a_job("alone")]
    assert started(*queue, ledger=a_ledger(teams=teams)) == ["alone"]
    assert reason("taught", *queue, ledger=a_ledger(teams=teams)) == (
        "waiting_for_quota",
        "waiting for its team's quota of 1,000 teacher rows a month (1,001 used): next month, or ask the operator",
    )


def test_a_quota_is_kept_for_the_job_that_has_waited_long_for_it():
    ledger = a_ledger(a_job("running", num_workers=3), teams=granting(max_workers=4))
    young = [a_job("wide", num_workers=4, s=-1), a_job("narrow")]
    assert started(*young, ledger=ledger) == ["narrow"]
    old = [a_job("wide", num_workers=4, s=OLD), a_job("narrow"), a_job("others", "b")]
    assert started(*old, ledger=ledger) == ["others"]
    assert "kept for a job" in reason("narrow", *old, ledger=ledger)[1]


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st"), (1113, "1,113th")],
)
def test_positions_read_as_people_say_them(number: int, text: str):
    assert ordinal(number) == text
