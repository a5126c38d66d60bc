"""Reservations as the door reads them."""

import pytest
from redis.exceptions import ConnectionError as RedisGone

from distill.contracts.errors import DependencyDown, NotFound, StillhouseError
from teacher_server.door.reservations import Reservations
from tests.teacher_server.door.doors import Clock, Shelf, a_reservation


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def shelf():
    return Shelf(a_reservation(life_s=30))


@pytest.fixture
def reservations(shelf, clock):
    return Reservations(shelf, clock=clock.monotonic, today=clock.today)


async def test_one_is_read_once_a_second(reservations, shelf, clock):
    for passed_s, reads in [(0, 1), (0.9, 1), (1.1, 2)]:
        clock.passed_s = passed_s
        assert (await reservations.find("r-1", team="vision")).team == "vision"
        assert shelf.reads == reads


async def test_a_renewed_one_goes_on(reservations, shelf, clock):
    await reservations.find("r-1", team="vision")
    shelf.put(a_reservation(life_s=90))
    clock.passed_s = 60
    assert (await reservations.find("r-1", team="vision")).id == "r-1"


async def test_one_that_was_not_renewed_ends_whatever_is_stored(reservations, clock):
    await reservations.find("r-1", team="vision")
    clock.passed_s = 31
    with pytest.raises(NotFound, match="has ended"):
        await reservations.find("r-1", team="vision")


async def test_one_that_was_closed_ends_within_a_second(reservations, shelf, clock):
    await reservations.find("r-1", team="vision")
    shelf.held.clear()
    clock.passed_s = 1.1
    with pytest.raises(NotFound):
        await reservations.find("r-1", team="vision")


async def test_while_redis_is_away_what_is_known_holds_until_it_ends(reservations, shelf, clock):
    await reservations.find("r-1", team="vision")
    shelf.trouble = RedisGone("gone")
    clock.passed_s = 20
    assert (await reservations.find("r-1", team="vision")).id == "r-1"
    with pytest.raises(DependencyDown, match="Redis"):
        await reservations.find("r-2", team="vision")
    clock.passed_s = 31
    with pytest.raises(DependencyDown):
        await reservations.find("r-1", team="vision")


async def test_what_has_ended_is_not_remembered_for_ever(reservations, shelf, clock):
    await reservations.find("r-1", team="vision")
    clock.passed_s = 31
    shelf.put(a_reservation("r-2", life_s=60))
    await reservations.find("r-2", team="vision")
    assert list(reservations._known._held) == ["r-2"]


async def test_what_can_not_be_read_is_no_reservation(reservations, shelf):
    shelf.held = dict.fromkeys(shelf.held, "{}")
    with pytest.raises(StillhouseError, match="another version"):
        await reservations.find("r-1", team="vision")
