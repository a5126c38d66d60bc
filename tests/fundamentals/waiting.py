"""The one way in which these tests wait for what no event tells."""

import time
from collections.abc import Callable


def until(happened: Callable[[], bool], *, timeout_s: float = 60) -> None:
    """Look ten times a second; fail after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen in {timeout_s:g} s"
        time.sleep(0.1)
