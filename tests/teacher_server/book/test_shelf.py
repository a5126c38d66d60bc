"""All books on storage, and the room that they take."""

import json
import os

import pytest

from teacher_server.book.shelf import Shelf, book_id
from tests.teacher_server.book.rows import KEY, OTHER, THIRD, rows_of

ROOM = 2**30
ONE_BOOK = 12_000
"""Bytes: 100 rows of 76 bytes, headers and label."""


def shelf_with_three(folder, *, max_bytes):
    """Books last used at seconds 1, 2 and 3."""
    shelf = Shelf(folder, max_bytes=ROOM)
    for at, key in enumerate((KEY, OTHER, THIRD), start=1):
        shelf.save(key, rows_of(range(100)))
        os.utime(folder / book_id(key) / "book.json", (at, at))
    return Shelf(folder, max_bytes=max_bytes)


def test_a_book_comes_back_with_its_rows_and_says_whose_it_is(tmp_path):
    shelf = Shelf(tmp_path, max_bytes=ROOM)
    shelf.save(KEY, rows_of([1, 2]))
    shelf.save(KEY, rows_of([3]))
    pages = shelf.load(KEY, max_bytes=ROOM)
    assert (pages.num_rows, pages.num_unsaved) == (3, 0)
    label = json.loads((tmp_path / book_id(KEY) / "book.json").read_text())
    assert label["teacher"] == KEY.teacher


def test_books_of_different_keys_are_different_books(tmp_path):
    shelf = Shelf(tmp_path, max_bytes=ROOM)
    shelf.save(KEY, rows_of([1]))
    assert len({book_id(key) for key in (KEY, OTHER, THIRD)}) == 3
    assert shelf.load(OTHER, max_bytes=ROOM).num_rows == 0


def test_the_book_that_was_not_used_for_the_longest_time_is_deleted_first(tmp_path):
    shelf = shelf_with_three(tmp_path, max_bytes=2 * ONE_BOOK)
    assert shelf.make_room([]) == [book_id(KEY)]
    assert shelf.make_room([]) == []


def test_books_in_memory_count_as_used_last(tmp_path):
    shelf = shelf_with_three(tmp_path, max_bytes=ONE_BOOK)
    assert shelf.make_room([book_id(OTHER), book_id(KEY)]) == [book_id(THIRD), book_id(OTHER)]


def test_refused_books_go_first(tmp_path):
    shelf = shelf_with_three(tmp_path, max_bytes=2 * ONE_BOOK)
    aside = shelf.refuse(THIRD)
    assert aside == tmp_path / f"{book_id(THIRD)}.refused"
    assert shelf.load(THIRD, max_bytes=ROOM).num_rows == 0
    assert shelf.make_room([]) == [aside.name]


def test_the_last_book_stays_and_grows_no_more_once_it_takes_all_the_room(tmp_path):
    shelf = shelf_with_three(tmp_path, max_bytes=100)
    assert shelf.make_room([]) == [book_id(KEY), book_id(OTHER)]
    shelf.save(THIRD, rows_of([1000]))
    assert shelf.load(THIRD, max_bytes=ROOM).num_rows == 100


def test_loading_a_book_counts_as_using_it(tmp_path):
    shelf = shelf_with_three(tmp_path, max_bytes=2 * ONE_BOOK)
    shelf.load(KEY, max_bytes=ROOM)
    assert shelf.make_room([]) == [book_id(OTHER)]


def test_a_storage_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "answers").write_text("a file, where the folder should be")
    with pytest.raises(OSError, match="answers"):
        Shelf(tmp_path / "answers", max_bytes=ROOM).save(KEY, rows_of([1]))
