"""How long a window may take, before whoever asked for it holds it for lost."""

from distill.contracts.teachers import ResolvedTeacher

GRACE_S = 5.0
SLOWNESS = 10.0
"""A replica takes up a window within the deadline, or refuses it; it may then take so many times as long for it as its
manifest says, for a busy machine's sake. What isn't here after that and `GRACE_S` is lost."""


def patience_s(num_rows: int, *, deadline_s: float, teacher: ResolvedTeacher) -> float:
    """Seconds after which a replica that took a window of so many rows must have lost it."""
    return deadline_s + SLOWNESS * num_rows / teacher.manifest.rows_per_s + GRACE_S
