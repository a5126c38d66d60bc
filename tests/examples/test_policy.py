"""The cart-pole of the policy example: its physics, its controller, its record."""

import numpy as np
import pytest

from distill.contracts.job import JobSpec
from examples import policy


def test_a_cart_without_a_pole_to_turn_follows_newton():
    # upright and still: the push of 10 N tips the pole back by 10 / 1.1 / (0.5 (4/3 - 0.1/1.1)) rad/s^2
    after = policy.step(np.zeros((1, 4)), np.array([1]), np.zeros(1))

    turning = -(10 / 1.1) / (0.5 * (4 / 3 - 0.1 / 1.1))
    speeding = 10 / 1.1 - 0.05 * turning / 1.1
    assert after[0] == pytest.approx([0, 0.02 * speeding, 0, 0.02 * turning])


def test_left_and_right_mirror_each_other():
    states = np.random.default_rng(0).normal(size=(5, 4))
    pushed = policy.step(states, np.ones(5, dtype=np.int64), np.full(5, 3.0))
    mirrored = policy.step(-states, np.zeros(5, dtype=np.int64), np.full(5, -3.0))

    np.testing.assert_allclose(mirrored, -pushed)


def test_the_controller_balances_where_chance_does_not():
    random = np.random.default_rng(0)
    *_, balanced = policy.play(policy.controller, num_carts=50, seed=3)
    *_, dropped = policy.play(lambda states: random.integers(0, 2, len(states)), num_carts=50, seed=3)

    assert balanced.mean() > 400
    assert dropped.mean() < 30


def test_the_record_is_what_the_controller_does(tmp_path):
    policy.record(tmp_path / "policy" / "record.npz")

    arrays = np.load(tmp_path / "policy" / "record.npz")
    assert arrays["inputs"].shape == (policy.NUM_RECORDED, 4)
    agreed = policy.controller(arrays["inputs"].astype(np.float64)) == arrays["labels"]
    assert agreed.mean() > 0.999  # but for rounding to float32 at the border


def test_its_jobs_fit_the_schema():
    spec = policy.job("policy-teacher", hidden=(64, 64), dataset=policy.dataset(0, 100, "all"))

    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec
