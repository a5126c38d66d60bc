"""Ctrl-C and SIGTERM as one request to stop, that nothing interrupts."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from services.cli.screen import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stops_once() -> Iterator[None]:
    """The first signal raises KeyboardInterrupt; later ones only say that stopping goes on.

    A stack that is stopped by half leaves orphans.
    """
    is_stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            say("still stopping: a few seconds more, so that nothing is left behind")
            return
        is_stopping = True
        raise KeyboardInterrupt

    ours = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup stays nohup
    before = {number: signal.signal(number, stop) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
