"""The errors: every one survives pickling, and the tree that is drawn is the one that is there."""

import inspect
import pickle
import re

import pytest

from distill.contracts import errors
from distill.contracts.errors import Problem, StillhouseError

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, StillhouseError)]
DETAILS = {"field": "dataset.path", "expected": "a file", "got": "nothing", "hint": "name another"}


@pytest.mark.parametrize("kind", TREE)
def test_an_error_survives_pickling_with_its_message_code_and_details(kind: type[StillhouseError]):
    came = pickle.loads(pickle.dumps(kind("no such file", **DETAILS)))  # noqa: S301 - our own bytes
    assert type(came) is kind
    assert (came.message, came.details, came.code) == ("no such file", DETAILS, kind.code)


@pytest.mark.parametrize("kind", TREE)
def test_an_error_prints_as_its_message_and_is_a_problem_with_its_details(kind: type[StillhouseError]):
    error = kind("no such file", **DETAILS)
    assert str(error) == "no such file"
    assert error.problem() == Problem(code=kind.code, message="no such file", **DETAILS)


def test_every_error_has_a_code_of_its_own():
    assert len({kind.code for kind in TREE}) == len(TREE)


def test_the_tree_of_the_docstring_is_the_real_one():
    assert drawn(errors.__doc__ or "") == {kind.__name__: kind.__base__.__name__ for kind in TREE}


def test_the_drawing_says_of_each_error_what_its_class_says():
    said = dict(re.findall(r"[├└]── (\w+) +(.+)", errors.__doc__ or ""))
    for kind in set(TREE) - {StillhouseError}:
        assert (kind.__doc__ or "").lower().startswith(f"{said[kind.__name__].lower()}.")


def drawn(text: str) -> dict[str, str]:
    """Each class in the drawing, and its base."""
    bases = {"StillhouseError": "Exception"}
    above = ["StillhouseError"]
    for branch, name in re.findall(r"^    ((?:│   |    )*)[├└]── (\w+)", text, flags=re.MULTILINE):
        depth = len(branch) // 4 + 1
        bases[name] = above[depth - 1]
        above[depth:] = [name]
    return bases
