"""The audit log's chain: whatever is changed in it is found, by the number of the first entry that isn't right."""

import hashlib
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.contracts.audit import AUDIT_ENTRY, ChangeAnswered, ChangeAsked, Entry, ServiceDid
from distill.contracts.errors import InvalidSpec
from services.control_plane.audit.chain import START, Head, Link, Walk, head_of, of_line, seal, to_line
from tests.services.control_plane.records import NOON, at

ABOUT = {"team": "default", "key": "abcdefghjk", "method": "POST", "path": "/v1/jobs", "request": "5f"}


def some(count: int) -> list[Entry]:
    """Requests and their answers, in turn."""
    return [
        ChangeAnswered(at=at(n), asked=n, status=202, **ABOUT)
        if n % 2
        else ChangeAsked(at=at(n), route="/v1/jobs", **ABOUT)
        for n in range(count)
    ]


def walked(links: Sequence[Link], noted: Head | None = None) -> Walk:
    walk = Walk(noted)
    walk.take(links)
    walk.end()
    return walk


LOG = seal(some(8), START)


def test_a_hash_is_the_sha256_of_the_one_before_and_the_entry():
    previous = ""
    for number, link in enumerate(LOG, 1):
        content = json.loads(to_line(link))
        assert (content["number"], content.pop("hash")) == (number, link.hash)
        plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
        previous = "sha256:" + hashlib.sha256((previous + plain).encode()).hexdigest()
        assert link.hash == previous


def test_a_log_that_nobody_touched_is_whole():
    walk = walked(LOG)
    assert (walk.fault, walk.head, list(walk.unanswered)) == (None, LOG[-1].head, [])
    assert walked(LOG[:7]).unanswered == {7: None}, "its answer isn't there yet"
    assert walked([]).head == START


def test_what_is_sealed_piece_by_piece_is_the_same_chain():
    head, links = START, []
    for entry in some(8):
        links += seal([entry], head)
        head = links[-1].head
    assert links == LOG


@given(place=st.integers(0, 7), where=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 127))
def test_an_entry_of_which_any_character_was_changed_is_found_by_its_number(place: int, where: float, byte: int):
    text = LOG[place].text
    spot = int(where * len(text))
    changed = text[:spot] + chr(ord(text[spot]) ^ byte) + text[spot + 1 :]
    links = [*LOG[:place], LOG[place]._replace(text=changed), *LOG[place + 1 :]]
    walk = walked(links)
    assert walk.fault is not None
    assert (walk.fault.number, walk.head.number) == (place + 1, place)


@pytest.mark.parametrize("place", range(7))
def test_an_entry_that_was_taken_away_is_found_by_its_number(place: int):
    walk = walked([*LOG[:place], *LOG[place + 1 :]])
    assert walk.fault == (place + 1, f"entry {place + 1} is missing: {place + 2} is the next one that is there")


@pytest.mark.parametrize("place", range(7))
def test_one_whose_place_the_next_ones_took_is_found_too(place: int):
    closed = [link._replace(number=link.number - 1) for link in LOG[place + 1 :]]
    walk = walked([*LOG[:place], *closed])
    assert walk.fault == (place + 1, f"in the place of entry {place + 1} stands entry {place + 2}")


@pytest.mark.parametrize("place", range(7))
def test_entries_that_changed_places_are_found_at_the_first(place: int):
    one, other = LOG[place], LOG[place + 1]
    swapped = [other._replace(number=one.number), one._replace(number=other.number)]
    walk = walked([*LOG[:place], *swapped, *LOG[place + 2 :]])
    assert walk.fault == (place + 1, f"in the place of entry {place + 1} stands entry {place + 2}")


@pytest.mark.parametrize("place", range(7))
def test_one_that_was_changed_and_sealed_again_breaks_the_next_one(place: int):
    forged = seal([ServiceDid(at=NOON, what="nothing", details={})], walked(LOG[:place]).head)
    walk = walked([*LOG[:place], *forged, *LOG[place + 1 :]])
    assert walk.fault is not None
    assert walk.fault.number == place + 2


def test_a_log_that_was_written_anew_is_whole_for_who_noted_nothing_and_for_nobody_else():
    anew = seal([*some(3), ServiceDid(at=NOON, what="nothing", details={}), *some(8)[4:]], START)
    assert walked(anew).fault is None
    for link in LOG[:3]:
        assert walked(anew, link.head).fault is None
    for link in LOG[3:]:
        assert walked(LOG, link.head).fault is None
        fault = walked(anew, link.head).fault
        assert fault is not None
        assert (fault.number, "was noted" in fault.what) == (link.number, True)


def test_a_log_whose_end_was_cut_off_is_found_by_who_noted_it():
    assert walked(LOG[:5]).fault is None
    assert walked(LOG[:5], LOG[6].head).fault == (6, "the log ends before entry 7, which was noted")


@pytest.mark.parametrize(
    "line", ["", "{}", "null", "[1]", '{"number":1}', '{"number":"1","kind":"did","at":""}', "\udcff"]
)
def test_what_is_no_entry_is_found(line: str):
    walk = walked([of_line(1, line)])
    assert walk.fault is not None
    assert walk.fault.number == 1


def test_a_line_gives_the_entry_back():
    assert [of_line(link.number, to_line(link)) for link in LOG] == LOG
    assert [AUDIT_ENTRY.validate_json(to_line(link)).number for link in LOG] == list(range(1, 9))


def test_what_a_person_noted_is_read_and_anything_else_refused():
    assert head_of(str(LOG[3].head)) == LOG[3].head
    for text in ("", "4", "4:", "4:sha256:12", f"x{LOG[3].head}", f"{LOG[3].head} "):
        with pytest.raises(InvalidSpec, match="head of the log"):
            head_of(text)
