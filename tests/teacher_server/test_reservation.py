"""A reservation, held against a small real server."""

import time
from urllib.parse import urlsplit

import pytest

from distill.contracts.errors import DependencyDown, InvalidSpec, StillhouseError, UnknownTeacher
from teacher_server.reservation import HeldReservation
from teacher_server.settings import ClientSettings
from tests.teacher_server.door.doors import TEACHER
from tests.teacher_server.house import House, keeping


@pytest.fixture
def house():
    with keeping(House(door="http://127.0.0.1:8000")) as house:
        yield house


def test_it_says_whom_to_ask_where_and_in_whose_name(house):
    with HeldReservation("fashion@prod", rows_per_s=5000, url=house.url) as held:
        assert (held.id, held.door, held.team) == ("r-1", "http://127.0.0.1:8000", "vision")
        assert held.teacher == TEACHER
    assert house.opened == [{"teacher": "fashion@prod", "rows_per_s": 5000.0}]


def test_it_is_given_back_at_the_end_and_once(house):
    with HeldReservation("fashion@prod", rows_per_s=1, url=house.url) as held:
        assert list(house.held) == ["r-1"]
    assert not house.held
    held.close()


def test_it_is_renewed_every_third_of_its_life(house):
    house.life_s = 0.6
    began = time.monotonic()
    with HeldReservation("fashion@prod", rows_per_s=1, url=house.url):
        assert all(house.renewed.acquire(timeout=10) for _ in range(3))
        assert time.monotonic() - began >= 0.6
    assert len(house.opened) == 1


def test_one_that_was_lost_is_opened_anew_for_the_very_same_version(house):
    with HeldReservation("fashion@prod", rows_per_s=7, url=house.url) as held:
        house.held.clear()
        held.renew()
        assert held.id == "r-2"
        assert house.opened[1] == {"teacher": "fashion@3", "rows_per_s": 7.0}
    assert not house.held


def test_it_outlives_a_control_plane_that_comes_back(caplog):
    house = House(life_s=0.3)
    with keeping(house):
        held = HeldReservation("fashion@prod", rows_per_s=1, url=house.url)
    with pytest.raises(DependencyDown):
        held.renew()
    with keeping(house, port=urlsplit(house.url).port):
        assert house.renewed.acquire(timeout=10)
        held.close()
    assert len([line for line in caplog.messages if "can't be renewed" in line]) <= 1


def test_nobody_is_told_of_a_reservation_that_can_not_be_closed():
    house = House()
    with keeping(house):
        held = HeldReservation("fashion@prod", rows_per_s=1, url=house.url)
    held.close()


def test_a_refusal_keeps_its_class_and_its_details(house):
    house.refusal = UnknownTeacher("there is no teacher 'fashion@9'", field="teacher", expected="fashion@3")
    with pytest.raises(UnknownTeacher, match="no teacher 'fashion@9'") as caught:
        HeldReservation("fashion@9", rows_per_s=1, url=house.url)
    assert caught.value.details == {"field": "teacher", "expected": "fashion@3"}


def test_a_server_that_is_not_there_is_told_with_what_to_do():
    house = House()
    with keeping(house):
        pass
    with pytest.raises(DependencyDown, match="nothing answers at") as caught:
        HeldReservation("fashion@prod", rows_per_s=1, url=house.url)
    assert "stillhouse up" in caught.value.details["hint"]


def test_another_kind_of_server_is_told_as_such(house):
    house.answers_nonsense = True
    with pytest.raises(StillhouseError, match="isn't a Reservation"):
        HeldReservation("fashion@prod", rows_per_s=1, url=house.url)


@pytest.mark.parametrize("url", ["127.0.0.1:8470", "ftp://house", "http://", "http://house:port"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(InvalidSpec, match="not the URL"):
        HeldReservation("fashion@prod", rows_per_s=1, url=url)


@pytest.mark.parametrize(
    ("environment", "url"),
    [({}, "http://127.0.0.1:8470"), ({"STILLHOUSE_URL": "http://house:1"}, "http://house:1")],
)
def test_the_environment_tells_where_the_control_plane_is(environment, url, tmp_path):
    assert ClientSettings.from_environment({"STILLHOUSE_HOME": str(tmp_path)} | environment).url == url


def test_the_stack_of_this_home_is_found_wherever_it_listens(tmp_path):
    (tmp_path / "stack.json").write_text('{"url": "http://127.0.0.1:9"}')
    home = {"STILLHOUSE_HOME": str(tmp_path)}
    assert ClientSettings.from_environment(home).url == "http://127.0.0.1:9"
    assert ClientSettings.from_environment(home | {"STILLHOUSE_URL": "http://house:1"}).url == "http://house:1"
