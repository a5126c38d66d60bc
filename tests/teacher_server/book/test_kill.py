"""Whatever moment the answer book is killed at, what it had saved is there, and nothing is torn."""

import subprocess
import sys
from pathlib import Path

import pytest

from teacher_server.book.shelf import Shelf
from tests.teacher_server.book.rows import KEY, numbers_in

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("num_saved", [1, 11, 40])
def test_rows_that_were_saved_before_a_kill_are_there_after_it(tmp_path, num_saved):
    command = [sys.executable, "-m", "tests.teacher_server.book.writer", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(num_saved)]
        writer.kill()
        said += [int(line) for line in writer.stdout.read().split()]
    pages = Shelf(tmp_path, max_bytes=2**30).load(KEY, max_bytes=2**30)
    numbers = sorted(numbers_in(dict(pages.rows(0, pages.num_rows).answers)))
    assert numbers in (said, [*said, len(said)])  # the last one may be saved and not yet said
    assert not list(tmp_path.rglob("*.aside"))
