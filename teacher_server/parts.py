"""Members counted over all teachers of a job, and each teacher's own part of them."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distill.contracts.taps import MemberTap


@dataclass(frozen=True)
class Part:
    """What one teacher is asked."""

    teacher: int
    """Its position in the job file."""
    start: int
    """The position of its first member, over all teachers."""
    members: tuple[int, ...]
    """Positions of the members asked, among its own."""
    taps: tuple[MemberTap, ...]
    """Of these members, whose positions are among its own."""


def parts_of(sizes: Sequence[int], members: Sequence[int] | None, taps: Sequence[MemberTap]) -> list[Part]:
    """A part for each teacher that has a member asked, in job-file order.

    Args:
        sizes: number of members of each teacher.
        members: positions over all teachers, rising; None for all.
        taps: positions over all teachers; those of members that aren't asked are left out.

    Raises:
        ValueError: no member, or one that isn't there.
    """
    total = sum(sizes)
    wanted = list(range(total)) if members is None else list(members)
    if not wanted or wanted != sorted(set(wanted)) or wanted[0] < 0 or wanted[-1] >= total:
        raise ValueError(f"members must rise within 0 to {total - 1}, not {wanted}")
    return list(_parts(sizes, wanted, taps))


def _parts(sizes: Sequence[int], wanted: Sequence[int], taps: Sequence[MemberTap]) -> Iterator[Part]:
    starts = [0, *itertools.accumulate(sizes)]
    for teacher, (start, stop) in enumerate(itertools.pairwise(starts)):
        own = tuple(member - start for member in wanted if start <= member < stop)
        if own:
            of_own = [tap for tap in taps if tap.member - start in own]
            moved = tuple(MemberTap(member=tap.member - start, tap=tap.tap) for tap in of_own)
            yield Part(teacher, start, own, moved)
