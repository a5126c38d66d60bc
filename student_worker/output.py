"""Where an attempt's output goes: a file on storage, which outlives the cluster."""

import os
import sys
from pathlib import Path


def redirect_to(file: Path) -> None:
    """Send standard output and error of this process and of its children to the end of ``file``.

    Ray prints what its workers say on the driver's output, so the file holds that too.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(descriptor, number)
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(descriptor)
