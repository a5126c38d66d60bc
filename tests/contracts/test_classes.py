"""How class lists differ is told by name, by order and by number."""

from distill.contracts.classes import difference


def how(mine: str, theirs: str) -> str | None:
    return difference(mine.split(), theirs.split(), me="a@1", they="the data")


def test_equal_lists_do_not_differ():
    assert how("bag coat", "bag coat") is None


def test_other_names_are_told_on_both_sides():
    assert how("bag coat", "bag shoe") == "only a@1 has coat; only the data has shoe"


def test_another_order_is_told_at_its_first_place():
    told = "the same names stand in another order: class 1 is 'shoe' to a@1 and 'coat' to the data"
    assert how("bag shoe coat", "bag coat shoe") == told


def test_another_number_is_told_with_what_is_missing():
    assert how("bag", "bag coat") == "a@1 has 1 classes and the data 2; only the data has coat"
    assert "and 4 more" in str(how("a", " ".join("abcdefghijklm")))
