"""What each process of the pool must do without: seconds of start-up hang on it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("teacher_server.app", "torch"),
        ("teacher_server.check", "torch"),
        ("teacher_server.book.app", "torch"),
        ("teacher_server.book.line", "torch"),
        ("teacher_server.client", "distill.science.models"),
        ("teacher_server.remote", "torch"),
        ("teacher_server.remote", "ray"),
    ],
)
def test_a_process_starts_without_what_it_does_not_use(module, without):
    code = f"import {module}, sys; sys.exit('{without}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
