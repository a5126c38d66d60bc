"""The matrix of faults: every test that it names exists, and every test of `tests/faults/` is in it."""

import ast
import re

from tests.docs.test_docs import ROOT

NAMED = set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs/faults.md").read_text()))


def found_in(file: str) -> set[str]:
    body = ast.parse((ROOT / file).read_text()).body
    functions = [one for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {one.name for one in functions if one.name.startswith("test_")}


def test_every_test_that_the_matrix_names_exists():
    assert [(file, name) for file, name in sorted(NAMED) if name not in found_in(file)] == []


def test_every_fault_that_is_tested_is_in_the_matrix():
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "tests/faults").glob("test_*.py")]
    there = {(file, name) for file in files for name in found_in(file)}
    assert len(there) >= 40
    assert sorted(there - NAMED) == []
