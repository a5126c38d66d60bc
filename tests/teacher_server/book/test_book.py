"""The answer book: who gets what, who waits for whom, and what is on storage when."""

import asyncio
import logging

import pytest
from safetensors.numpy import save_file

from distill.contracts.errors import InvalidAnswer
from teacher_server.book import book as book_module
from teacher_server.book import keeper
from teacher_server.book.book import AnswerBook
from teacher_server.book.claims import SILENCE_S
from teacher_server.book.segments import write_segment
from teacher_server.book.shelf import Shelf, book_id
from tests.teacher_server.book.rows import KEY, OTHER, THIRD, Clock, answers_to, digests_of, numbers_in, rows_of

ROOM = 2**30
ONE_BOOK = 100 * (76 + 180)
"""Bytes in memory of 100 rows."""


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_book(tmp_path, clock):
    """A book on the test's storage, as a process that starts anew finds it."""
    return lambda max_bytes=ROOM, disk=ROOM: AnswerBook(
        Shelf(tmp_path, max_bytes=disk), max_bytes=max_bytes, clock=clock
    )


@pytest.fixture
def book(make_book):
    return make_book()


async def ask(book, numbers, claimant="one", key=KEY):
    """Numbers known, and numbers that are the claimant's now."""
    numbers = list(numbers)
    consulted = await book.consult(key, digests_of(numbers), claimant=claimant)
    known = numbers_in(consulted.answers) if consulted.answers else []
    assert known == [number for number, is_known in zip(numbers, consulted.known_N, strict=True) if is_known]
    return known, [number for number, is_mine in zip(numbers, consulted.mine_N, strict=True) if is_mine]


async def hand_in(book, numbers, key=KEY):
    await book.hand_in(key, digests_of(numbers), answers_to(numbers))


async def edition_of(book, key=KEY):
    return (await book.consult(key, digests_of([0]), claimant="reader")).edition


def recalled(book, numbers, key=KEY):
    consulted = book.recall(key, digests_of(numbers))
    assert not consulted.mine_N.any()
    return numbers_in(consulted.answers) if consulted.answers else []


async def saved_book(make_book, numbers=range(100), key=KEY):
    """A book whose rows another process left on storage."""
    before = make_book()
    await hand_in(before, numbers, key)
    before.close()
    return make_book()


# who computes what


async def test_a_row_is_computed_by_the_first_who_asks_and_known_to_the_next(book):
    assert await ask(book, [1, 2]) == ([], [1, 2])
    assert await ask(book, [2, 3], "two") == ([], [3])
    await hand_in(book, [1, 2])
    assert await ask(book, [3, 2, 1], "two") == ([2, 1], [3])


async def test_another_book_knows_nothing_of_it(book):
    await hand_in(book, [1])
    assert await ask(book, [1], key=OTHER) == ([], [1])


async def test_whoever_waits_gets_the_answer_when_it_is_handed_in(book):
    await ask(book, [1, 2])
    waiting = asyncio.create_task(book.wait(KEY, digests_of([1, 2]), claimant="two", timeout_s=30))
    await asyncio.sleep(0)
    await hand_in(book, [2])
    consulted = await waiting
    assert (consulted.known_N.tolist(), consulted.mine_N.tolist()) == ([False, True], [False, False])
    assert numbers_in(consulted.answers) == [2]


async def test_whoever_waits_is_not_disturbed_by_other_rows(book):
    await ask(book, [1])
    waiting = asyncio.create_task(book.wait(KEY, digests_of([1]), claimant="two", timeout_s=0.05))
    await asyncio.sleep(0)
    await hand_in(book, [9])
    consulted = await waiting
    assert not consulted.known_N.any()
    assert not consulted.mine_N.any()


async def test_released_rows_go_to_one_of_those_who_wait(book):
    await ask(book, [1])
    waiting = [book.wait(KEY, digests_of([1]), claimant=name, timeout_s=0.05) for name in ("two", "three")]
    tasks = [asyncio.create_task(each) for each in waiting]
    await asyncio.sleep(0)
    await book.release(KEY, digests_of([1]), claimant="one")
    assert sorted(bool(consulted.mine_N[0]) for consulted in await asyncio.gather(*tasks)) == [False, True]


async def test_the_rows_of_a_claimant_that_died_go_to_who_waits(book, clock, caplog):
    await ask(book, [1])
    waiting = asyncio.create_task(book.wait(KEY, digests_of([1]), claimant="two", timeout_s=30))
    await asyncio.sleep(0)
    clock.now += SILENCE_S + 0.1
    await book.tick()
    assert (await waiting).mine_N.tolist() == [True]
    assert "fell silent" in caplog.text


async def test_a_claimant_that_says_it_is_alive_keeps_its_rows(book, clock):
    await ask(book, [1])
    for _ in range(5):
        clock.now += SILENCE_S - 0.1
        book.alive(["one"])
        await book.tick()
    assert await ask(book, [1], "two") == ([], [])


async def test_answers_of_another_form_are_not_taken_and_their_claims_end(book):
    await hand_in(book, [1])
    await ask(book, [2])
    with pytest.raises(InvalidAnswer, match="other types or shapes"):
        await book.hand_in(KEY, digests_of([2]), {"logits": answers_to([2])["logits"].astype("float32")})
    assert await ask(book, [2], "two") == ([], [2])


# what lasts


async def test_a_restart_knows_what_was_saved(make_book):
    book = await saved_book(make_book, [1, 2])
    assert await ask(book, [1, 2, 3]) == ([1, 2], [3])


async def test_rows_are_saved_when_there_are_many(book, make_book):
    await hand_in(book, range(keeper.SAVE_ROWS - 1))
    await book.tick()
    assert (await ask(make_book(), [0]))[0] == []
    await hand_in(book, [keeper.SAVE_ROWS])
    await book.tick()
    assert (await ask(make_book(), [0, 1]))[0] == [0, 1]


async def test_rows_are_saved_a_second_after_the_last_ones_came(book, make_book, clock):
    await hand_in(book, [1])
    clock.now += 0.9
    await book.tick()
    assert (await ask(make_book(), [1]))[0] == []
    clock.now += 0.1
    await book.tick()
    assert (await ask(make_book(), [1]))[0] == [1]


async def test_rows_are_saved_after_two_seconds_even_while_others_come(book, make_book, clock):
    for number in range(3):
        await hand_in(book, [number])
        clock.now += 0.9
        await book.tick()
    assert (await ask(make_book(), [0, 1, 2]))[0] == [0, 1, 2]


async def test_storage_that_fails_costs_no_answer_and_is_tried_again(tmp_path, clock, caplog):
    folder = tmp_path / "answers"
    folder.write_text("in the way")
    book = AnswerBook(Shelf(folder, max_bytes=ROOM), max_bytes=ROOM, clock=clock)
    await hand_in(book, [1])
    clock.now += 2
    await book.tick()
    assert "could not be saved" in caplog.text
    assert (await ask(book, [1]))[0] == [1]
    folder.unlink()
    clock.now += keeper.RETRY_S
    await book.tick()
    assert Shelf(folder, max_bytes=ROOM).load(KEY, max_bytes=ROOM).num_rows == 1


async def test_a_book_that_comes_slowly_from_storage_knows_nothing_meanwhile(make_book, monkeypatch):
    book = await saved_book(make_book, [1])
    monkeypatch.setattr(book_module, "LOAD_S", 0)
    assert await ask(book, [1]) == ([], [1])
    async with asyncio.timeout(10):
        while not (await ask(book, [1]))[0]:  # noqa: ASYNC110 - it is loaded in a thread
            await asyncio.sleep(0.001)


# how much there is room for


async def test_the_book_not_used_for_the_longest_time_leaves_memory_and_comes_back(make_book, clock):
    book = make_book(max_bytes=2 * ONE_BOOK + 100)
    for key in (KEY, OTHER, THIRD):
        clock.now += 1
        await hand_in(book, range(100), key)
    await book.tick()
    assert book.describe() == {"books": 2, "rows": 200, "bytes": 2 * ONE_BOOK}
    assert (await ask(book, range(100)))[0] == list(range(100))
    await book.tick()
    assert book.describe()["books"] == 2
    assert (await ask(book, range(100), key=OTHER))[0] == list(range(100))


async def test_a_book_that_fills_memory_alone_takes_no_more_but_ends_claims(make_book):
    book = make_book(max_bytes=ONE_BOOK)
    await hand_in(book, range(100))
    await ask(book, [200])
    await hand_in(book, [200])
    assert await ask(book, [99, 200], "two") == ([99], [200])


async def test_books_beyond_the_room_on_storage_are_deleted(make_book, tmp_path, clock):
    book = make_book(disk=20_000)
    for key in (KEY, OTHER, THIRD):
        await hand_in(book, range(100), key)
        clock.now += 2
        await book.tick()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([book_id(OTHER), book_id(THIRD)])
    assert (await ask(book, [1]))[0] == []


# whom to trust


async def test_students_get_what_came_in_live(book):
    await ask(book, [1])
    assert recalled(book, [1]) == []
    await hand_in(book, [1])
    assert recalled(book, [1, 2]) == [1]


async def test_a_book_from_storage_is_hidden_from_students_until_a_replica_confirms_it(make_book):
    book = await saved_book(make_book, [1])
    edition = await edition_of(book)
    assert recalled(book, [1]) == []
    assert (await ask(book, [1]))[0] == [1]
    await book.confirm(KEY, "an edition of the past")
    assert recalled(book, [1]) == []
    await book.confirm(KEY, edition)
    assert recalled(book, [1]) == [1]


async def test_a_student_that_asks_for_a_book_on_storage_has_it_loaded(make_book):
    book = await saved_book(make_book, [1])
    assert recalled(book, [1]) == []
    async with asyncio.timeout(10):
        while not book.describe()["books"]:  # noqa: ASYNC110 - it is loaded in a thread
            await asyncio.sleep(0.001)


async def test_a_refused_book_is_moved_aside_and_begins_anew(make_book, tmp_path, caplog):
    book = await saved_book(make_book, [1])
    edition = await edition_of(book)
    with caplog.at_level(logging.ERROR):
        await book.refuse(KEY, edition, "the top class differs")
    assert "REFUSED: the top class differs" in caplog.text
    assert (tmp_path / f"{book_id(KEY)}.refused").is_dir()
    assert (await ask(book, [1]))[0] == []
    assert (await ask(make_book(), [1]))[0] == []
    await hand_in(book, [1])
    assert recalled(book, [1]) == [1]


async def test_a_late_refusal_does_not_hit_the_new_book(make_book):
    book = await saved_book(make_book, [1])
    edition = await edition_of(book)
    await book.refuse(KEY, edition, "wrong")
    await hand_in(book, [1])
    await book.refuse(KEY, edition, "wrong")
    assert (await ask(book, [1]))[0] == [1]


async def test_torn_files_and_tampered_ones_cost_their_own_rows_alone(make_book, tmp_path):
    book = await saved_book(make_book, [1, 2])
    folder = tmp_path / book_id(KEY)
    save_file({"digests": digests_of([3]), **answers_to([4])}, folder / "forged.safetensors")
    write_segment(folder, rows_of([5]), book=book_id(OTHER))
    assert (await ask(book, [1, 2, 3, 5]))[0] == [1, 2]
    assert len(list(folder.glob("*.aside"))) == 2
