"""The client's way to the pool: reservations, and what a team had."""

import pytest

from distill.contracts.errors import NotFound
from distill.contracts.pool import ReservationSpec
from distill.contracts.teams import TeamSpec
from services.client import StillhouseClient
from tests.services.client.stub_house import House, a_job


def test_a_reservation_is_made_renewed_and_ended(house: House, asking: StillhouseClient):
    made = asking.reserve(ReservationSpec(teacher="wise@prod", rows_per_s=200))
    assert (made.teacher.reference, made.rows_per_s) == ("wise@1", 200)
    assert asking.renew_reservation(made.id) == asking.reservation(made.id) == asking.reservations()[0]
    asking.end_reservation(made.id)
    assert asking.reservations() == []
    assert [method for method, _, _ in house.asked] == ["POST", "POST", "GET", "GET", "DELETE", "GET"]


def test_a_reservation_that_has_ended_is_not_found(asking: StillhouseClient):
    for do in (asking.renew_reservation, asking.reservation, asking.end_reservation):
        with pytest.raises(NotFound):
            do("wise-9")


def test_usage_is_asked_for_a_month_and_a_team_or_for_neither(house: House, asking: StillhouseClient):
    assert asking.usage() == house.usage
    asking.usage(month="2026-10", team="vision")
    assert [one.team for one in asking.usage_of_all(month="2026-10")] == ["default", "other"]
    assert [path for _, path, _ in house.asked] == [
        "/v1/usage", "/v1/usage?month=2026-10&team=vision", "/v1/usage/teams?month=2026-10",
    ]  # fmt: skip


def test_a_team_is_granted_all_that_is_said_and_nothing_else(house: House, asking: StillhouseClient):
    granted = TeamSpec(weight=2, max_jobs=4)
    assert asking.grant("vision", granted).granted == granted
    assert asking.team("vision").team.granted == asking.teams()[0].team.granted == house.teams["vision"] == granted


def test_a_job_gets_another_priority(house: House, asking: StillhouseClient):
    house.add(a_job())
    assert asking.set_priority("digits-abc123", -7).priority == -7
