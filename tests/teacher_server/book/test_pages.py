"""One book in memory."""

import numpy as np
import pytest

from distill.contracts.errors import InvalidAnswer
from teacher_server.book.pages import Pages, Rows
from tests.teacher_server.book.rows import answers_to, digests_of, numbers_in, rows_of


def test_what_was_added_is_found_by_its_digest_whatever_the_order():
    pages = Pages()
    for start in range(0, 2000, 200):
        pages.add(rows_of(range(start, start + 200)))
    found = pages.find(digests_of([1999, 7, 2000, 1024]))
    assert found.tolist() == [1999, 7, -1, 1024]
    assert numbers_in(pages.take(found[found >= 0])) == [1999, 7, 1024]


def test_the_first_answer_to_a_row_stays():
    pages = Pages()
    pages.add(rows_of([1, 2]))
    added = pages.add(Rows(digests_of([2, 3, 3]), answers_to([20, 3, 30])))
    assert added == 1
    assert numbers_in(pages.take(pages.find(digests_of([1, 2, 3])))) == [1, 2, 3]


def test_rows_being_written_do_not_change_when_others_come():
    pages = Pages()
    pages.add(rows_of(range(10)))
    written = pages.rows(0, 10)
    pages.add(rows_of(range(10, 4000)))
    assert numbers_in(dict(written.answers)) == list(range(10))


@pytest.mark.parametrize(
    "answers",
    [
        {"logits": np.zeros((2, 3, 10), np.float32)},
        {"logits": np.zeros((2, 3, 9), np.float16)},
        {"logits": np.zeros((2, 3, 10), np.float16), "tap.0.x": np.zeros((2, 4), np.float16)},
        {"logits": np.zeros((1, 3, 10), np.float16)},
        {},
    ],
)
def test_answers_of_another_form_than_the_first_are_not_taken(answers):
    pages = Pages()
    pages.add(rows_of([0]))
    with pytest.raises(InvalidAnswer):
        pages.add(Rows(digests_of([1, 2]), answers))
    assert pages.num_rows == 1


def test_a_digest_of_another_size_is_not_taken():
    with pytest.raises(InvalidAnswer, match="uint8"):
        Pages().add(Rows(np.zeros((2, 8), np.uint8), answers_to([1, 2])))


def test_a_row_takes_its_digest_and_three_members_logits():
    pages = Pages()
    pages.add(rows_of([1]))
    assert pages.row_bytes == 16 + 3 * 10 * 2
