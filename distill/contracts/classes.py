"""How two lists of class names differ, in words: what stands at a place is what a class number means."""

from collections.abc import Sequence


def difference(mine: Sequence[str], theirs: Sequence[str], *, me: str, they: str) -> str | None:
    """What a person has to mend so that two lists name the same classes in the same order; None if they do.

    Args:
        mine: names in order.
        theirs: names in order.
        me: who has ``mine``, such as ``fashion@1``.
        they: who has ``theirs``, such as ``the data``.
    """
    if tuple(mine) == tuple(theirs):
        return None
    parts = [
        f"only {who} has {_some(names)}"
        for who, names in (
            (me, [name for name in mine if name not in theirs]),
            (they, [name for name in theirs if name not in mine]),
        )
        if names
    ]
    if len(mine) != len(theirs):
        parts.insert(0, f"{me} has {len(mine)} classes and {they} {len(theirs)}")
    if not parts:
        place = next(place for place, pair in enumerate(zip(mine, theirs, strict=True)) if pair[0] != pair[1])
        return (
            f"the same names stand in another order: class {place} is {mine[place]!r} to {me} and {theirs[place]!r} to "
            f"{they}"
        )
    return "; ".join(parts)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
