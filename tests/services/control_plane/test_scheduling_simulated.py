"""The queue over months of simulated time: figures, and the bounds that they must keep."""

import pytest

from distill.contracts.teams import TeamSpec
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scheduling.policy import PATIENCE_S
from tests.services.control_plane.simulated_queue import (
    BIG_AMONG_SMALL,
    BOUND_S,
    CLUSTER,
    EQUAL,
    WEIGHTED,
    WEIGHTS,
    Simulation,
    Submitting,
    medium,
    small,
    whole,
)

FEW = 2_000


def test_ten_thousand_jobs_of_equal_unlike_teams_are_shared_evenly_and_all_end():
    done = Simulation(CLUSTER, EQUAL, seed=0).run(10_000)
    assert done.num_ended >= 10_000
    assert done.jain() >= 0.99, f"Jain's index is {done.jain():.4f}: {done.shares()}"
    assert done.busy >= 0.9, f"only {done.busy:.2f} of the CPUs were in use"


def test_shares_follow_weights():
    done = Simulation(CLUSTER, WEIGHTED, seed=1).run(FEW)
    assert done.jain(WEIGHTS) >= 0.99, f"by weight, all should have the same: {done.shares(WEIGHTS)}"
    assert done.shares()["c"] == pytest.approx(4 / 7, abs=0.02)


def test_jobs_of_the_whole_cluster_among_small_ones_wait_for_a_bounded_time():
    done = Simulation(CLUSTER, BIG_AMONG_SMALL, seed=2).run(FEW)
    worst = max(done.waits["big"])
    assert len(done.waits["big"]) >= 5
    assert PATIENCE_S < worst <= BOUND_S, f"a big job waited {worst:.0f} s; the bound is {BOUND_S:.0f} s"


def test_on_a_cluster_that_holds_one_job_at_a_time_teams_take_turns_by_time():
    one = ClusterResources(cpus=2)
    teams = (Submitting("long", whole(one, 900)), Submitting("short", whole(one, 100)))
    done = Simulation(one, teams, seed=0).run(500)
    assert done.jain() >= 0.99, f"shares {done.shares()}"
    assert len(done.waits["short"]) / len(done.waits["long"]) == pytest.approx(9, rel=0.1)


def test_a_team_that_comes_back_saves_nothing_up():
    often = Submitting("always", small)
    seldom = Submitting("seldom", whole(ClusterResources(cpus=1), 60), every_s=6 * 3600)
    done = Simulation(ClusterResources(cpus=4), (often, seldom), seed=0).run(1000)
    assert max(done.waits["seldom"]) <= 1800, "it comes at once: a CPU is free when the first small job ends"
    assert done.shares()["always"] > 0.98


def test_quotas_hold_over_time_and_leave_no_team_stuck():
    narrow = Submitting("narrow", small, granted=TeamSpec(max_jobs=2))
    done = Simulation(CLUSTER, (narrow, Submitting("wide", small)), seed=0).run(FEW)
    assert done.had["narrow"] / done.ended_s <= 2 * 2 / CLUSTER.cpus
    assert len(done.waits["narrow"]) > 100


def test_teachers_that_take_most_of_the_cluster_come_with_their_jobs_or_not_at_all():
    replica = ClusterResources(cpus=5)
    teams = [Submitting(f"team-{n}", small, teacher=f"teacher-{n}") for n in range(4)]
    done = Simulation(CLUSTER, teams, seed=0, replica=replica).run(FEW)
    assert min(len(waits) for waits in done.waits.values()) > FEW / 16


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_the_same_with_twenty_thousand_jobs_and_other_seeds(seed: int):
    equal = Simulation(CLUSTER, EQUAL, seed=seed).run(10_000)
    assert equal.jain() >= 0.99, f"Jain's index is {equal.jain():.4f}: {equal.shares()}"
    weighted = Simulation(CLUSTER, WEIGHTED, seed=seed).run(5_000)
    assert weighted.jain(WEIGHTS) >= 0.99, f"by weight: {weighted.shares(WEIGHTS)}"
    big = Simulation(CLUSTER, BIG_AMONG_SMALL, seed=seed).run(5_000)
    assert max(big.waits["big"]) <= BOUND_S, f"a big job waited {max(big.waits['big']):.0f} s; bound {BOUND_S:.0f} s"


@pytest.mark.long
def test_many_teams_of_every_kind_and_no_deadlock():
    draws = (small, medium)
    teams = [
        Submitting(
            f"team-{n}", draws[n % 2], backlog=8, granted=TeamSpec(weight=1 + n % 3, max_jobs=6), teacher=teacher
        )
        for n, teacher in enumerate(["teacher-a", None, "teacher-b", None] * 3)
    ]
    done = Simulation(ClusterResources(cpus=64), teams, seed=0, replica=ClusterResources(cpus=4)).run(4_000)
    assert done.busy >= 0.8, f"only {done.busy:.2f} of the CPUs were in use"
