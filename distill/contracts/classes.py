"""Class names, whose place is what a class number means: how two lists differ, and how many of them can be sent alone."""

from collections.abc import Sequence

from distill.contracts.errors import InvalidSpec
from distill.contracts.wire import MAX_TOP_CLASSES


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


def check_top_k(top_k: int, num_classes: int, *, field: str = "answers.top_k") -> None:
    """See that so many of the classes can be sent.

    Raises:
        InvalidSpec: ``top_k`` leaves no other class, or the classes can't be named by uint16.
    """
    if not 0 < top_k < num_classes:
        raise InvalidSpec(
            f"the {top_k} greatest of {num_classes} classes are asked: leave top_k out for all of them, "
            f"or give at most {num_classes - 1}",
            field=field,
            expected=f"1 to {num_classes - 1}, or none",
            got=str(top_k),
        )
    if num_classes > MAX_TOP_CLASSES:
        raise InvalidSpec(
            f"top_k names classes by 16 bits, and {num_classes} are more than {MAX_TOP_CLASSES}: leave it out",
            field=field,
            expected=f"at most {MAX_TOP_CLASSES} classes",
            got=str(num_classes),
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
