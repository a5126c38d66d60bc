"""What each process of the pool must do without: seconds of start-up hang on it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("teacher_server.app, teacher_server.book.app, teacher_server.book.line, teacher_server.check", "torch"),
        ("teacher_server.client", "distill.science.models"),
        ("teacher_server.remote", "torch, ray"),
    ],
)
def test_a_process_starts_without_what_it_does_not_use(modules, without):
    code = f"import {modules}, sys; sys.exit(bool({set(without.split(', '))!r} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
