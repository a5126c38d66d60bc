"""Memory that torch frees on a CPU, kept for what it allocates next.

glibc gives large blocks back to the kernel as they are freed, in some processes and not in others, as their heaps happen to
lie; what comes next then takes a page fault for every four kilobytes, again and again. A net of 10 MB activations is up to
twice as slow in such a process, for as long as it lives (`python -m benchmarks.freed_memory`).
"""

import ctypes
import os

KEPT_BYTES = 1 << 30
"""At most so much freed memory stays at the end of a heap; and blocks of up to this size lie in one."""
OWN_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` (malloc.h)."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; whether it does now: of C libraries glibc has such a setting.

    Where the environment holds one of glibc's own (`OWN_SETTINGS`), that stands.

    Source:
        mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name in os.environ for name in OWN_SETTINGS):
        return False
    return all(mallopt(parameter, KEPT_BYTES) == 1 for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
