"""Who computes which rows."""

from teacher_server.book.claims import SILENCE_S, Claims

A, B, C = b"a", b"b", b"c"


def test_a_row_is_claimed_by_the_first_who_asks():
    claims = Claims()
    assert claims.take([A, B], "one", 0) == [True, True]
    assert claims.take([B, C], "two", 0) == [False, True]
    assert claims.take([A, C], "one", 0) == [True, False]


def test_a_claim_ends_with_the_answer():
    claims = Claims()
    claims.take([A], "one", 0)
    claims.end([A])
    assert claims.take([A], "two", 0) == [True]


def test_nobody_releases_what_another_claimed():
    claims = Claims()
    claims.take([A], "one", 0)
    claims.release([A], "two")
    assert claims.take([A], "two", 0) == [False]
    claims.release([A], "one")
    assert claims.take([A], "two", 0) == [True]


def test_the_claims_of_the_silent_end_and_those_of_others_do_not():
    claims = Claims()
    claims.take([A, B], "silent", 0)
    claims.take([C], "alive", 0)
    claims.hear("alive", SILENCE_S)
    assert claims.expire(SILENCE_S) == []
    assert sorted(claims.expire(SILENCE_S + 0.1)) == [A, B]
    assert claims.take([A, B, C], "new", SILENCE_S + 0.1) == [True, True, False]


def test_a_word_after_the_end_revives_nothing():
    claims = Claims()
    claims.take([A], "late", 0)
    claims.expire(10)
    claims.hear("late", 10)
    assert claims.take([A], "new", 10) == [True]
    assert claims.expire(16) == [A]
