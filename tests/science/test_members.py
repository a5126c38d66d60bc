"""Who speaks when, counted over whole trainings."""

from collections import Counter
from itertools import pairwise

import pytest
import torch

from distill.contracts.ensemble import AllMembers, BestMember, MembersInOrder, RandomMember, SteppedMembers
from distill.science.members import best_member, members_at
from distill.science.seeds import mixed_seed

IN_ORDER = MembersInOrder(kind="in_order")
RANDOM = RandomMember(kind="random")
BEST = BestMember(kind="best")


def training(spec, *, num_steps, num_members, seed=0, best=None):
    return [
        members_at(spec, step=step, num_steps=num_steps, num_members=num_members, seed=seed, best=best)
        for step in range(num_steps)
    ]


def test_all_members_speak_at_every_step():
    assert training(AllMembers(), num_steps=2, num_members=3) == [(0, 1, 2), (0, 1, 2)]


def test_stepped_members_take_turns_at_their_moments():
    spec = SteppedMembers(kind="steps", values=((0,), (2, 1), (0, 1, 2)), at=(0.27, 0.5))

    # at progress 0, 1/8, ..., 7/8; a moment belongs to what comes after it, and positions rise
    assert training(spec, num_steps=8, num_members=3) == [(0,)] * 3 + [(1, 2)] + [(0, 1, 2)] * 4


def test_members_in_order_speak_one_after_another_for_equal_shares():
    asked = [member for (member,) in training(IN_ORDER, num_steps=120, num_members=6)]

    assert asked == sorted(asked)
    assert Counter(asked) == dict.fromkeys(range(6), 20)


@pytest.mark.parametrize("num_members", [1, 2, 3, 7, 49, 99, 100])
def test_members_in_order_all_speak_where_steps_do_not_divide_evenly(num_members):
    asked = Counter(member for (member,) in training(IN_ORDER, num_steps=100, num_members=num_members))

    assert sorted(asked) == list(range(num_members))
    assert max(asked.values()) - min(asked.values()) <= 1


def test_a_random_member_is_drawn_evenly():
    asked = Counter(member for (member,) in training(RANDOM, num_steps=6000, num_members=3))

    # 2000 each; a standard deviation is 37
    assert sorted(asked) == [0, 1, 2]
    assert all(abs(count - 2000) < 150 for count in asked.values())


def test_one_random_member_says_nothing_about_the_next():
    asked = [member for (member,) in training(RANDOM, num_steps=9000, num_members=3)]

    pairs = Counter(pairwise(asked))
    assert len(pairs) == 9
    assert all(abs(count - 1000) < 150 for count in pairs.values())


def test_a_random_member_hangs_on_seed_and_step_alone():
    asked = training(RANDOM, num_steps=50, num_members=5, seed=7)

    assert training(RANDOM, num_steps=80, num_members=5, seed=7)[:50] == asked
    assert training(RANDOM, num_steps=50, num_members=5, seed=8) != asked


def test_the_best_member_speaks_once_it_is_known():
    assert training(BEST, num_steps=2, num_members=3, best=2) == [(2,), (2,)]
    with pytest.raises(ValueError, match="best"):
        members_at(BEST, step=0, num_steps=1, num_members=3, seed=0, best=None)


def test_members_and_steps_that_do_not_exist_are_refused():
    spec = SteppedMembers(kind="steps", values=((0,), (3,)), at=(0.5,))

    with pytest.raises(ValueError, match="there are 3"):
        members_at(spec, step=9, num_steps=10, num_members=3, seed=0)
    with pytest.raises(ValueError, match="there are 3"):
        members_at(BEST, step=0, num_steps=10, num_members=3, seed=0, best=3)
    with pytest.raises(ValueError, match="step 10"):
        members_at(AllMembers(), step=10, num_steps=10, num_members=3, seed=0)


def test_the_best_member_is_right_most_often_where_labels_are_known():
    # named classes: member 0 says 0, 0, 0, 0; member 1 says 0, 1, 1, 1; member 2 says 1, 1, 0, 0
    named_NM = torch.tensor([[0, 0, 1], [0, 1, 1], [0, 1, 0], [0, 1, 0]])
    logits_NMC = torch.nn.functional.one_hot(named_NM, 2).float()

    assert best_member(logits_NMC, torch.tensor([0, 1, 0, 1])) == 1
    assert best_member(logits_NMC, torch.tensor([1, 1, -1, -1])) == 2


def test_of_equally_good_members_the_first_is_best():
    logits_NMC = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]])

    assert best_member(logits_NMC, torch.tensor([0])) == 1


def test_without_labels_nobody_is_best():
    with pytest.raises(ValueError, match="no row has a label"):
        best_member(torch.zeros(2, 3, 4), torch.tensor([-1, -1]))
    with pytest.raises(ValueError, match="don't fit"):
        best_member(torch.zeros(2, 3, 4), torch.tensor([0]))


def test_neighbouring_seeds_give_seeds_far_apart():
    seeds = [mixed_seed(seed, step) for seed in range(20) for step in range(50)]

    assert len(set(seeds)) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mixed_seed(1, 2) != mixed_seed(2, 1) != mixed_seed(2)
