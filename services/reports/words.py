"""Figures as people read them: percentages, counts, sizes, factors, seconds."""

from collections.abc import Iterable, Sequence
from math import floor, log10


def percent(share: float) -> str:
    """0.879 -> ``87.9 %``."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """0.089 -> ``8.9 points``; the sign is the sentence's to say."""
    text = f"{100 * abs(difference):.1f}"
    return f"{text} point" if text == "1.0" else f"{text} points"


def count(number: int, noun: str = "") -> str:
    """1234, "row" -> ``1,234 rows``."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def quantity(number: float) -> str:
    """Three figures and a letter: 14,876 -> ``14.9k``; 22,713,216 -> ``22.7M``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size * 0.9995:
            return f"{_three_figures(number / size)}{letter}"
    return f"{number:.0f}"


def factor(ratio: float) -> str:
    """55.8 -> ``56``; 3.04 -> ``3.0``."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def size_words(reduction: float) -> str | None:
    """How much smaller than the other a student is; None where both are of one size."""
    if reduction > 1.05:
        return f"{factor(reduction)} times smaller"
    if reduction < 1 / 1.05:
        return f"{factor(1 / reduction)} times larger"
    return None


def seconds(duration: float) -> str:
    """0.84 -> ``0.84 s``; 12.34 -> ``12.3 s``; 125.0 -> ``2 min 05 s``."""
    if round(duration) >= 120:
        minutes, rest = divmod(round(duration), 60)
        return f"{minutes} min {rest:02d} s"
    return f"{duration:.1f} s" if duration >= 10 else f"{duration:.2f} s"


def sentence(*clauses: str | None) -> str:
    """The clauses that are there, joined by semicolons and ended by a full stop."""
    said = "; ".join(clause for clause in clauses if clause)
    return said[0].upper() + said[1:] + "."


def listing(words: Sequence[str]) -> str:
    """a, b and c."""
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else "".join(words)


def label(point: str | None, generation: int | None, seed: int | None = None) -> str:
    """ "w16", 2 -> ``w16, generation 2``; what is None is left out."""
    said = [point, f"generation {generation}" if generation is not None else None]
    return ", ".join(word for word in (*said, f"seed {seed}" if seed is not None else None) if word)


def numbers(values: Iterable[int], noun: str = "") -> str:
    """Such as ``seed 0``, ``seeds 0, 1 and 2``, or of more than four ``seeds 0 to 9 (10)``."""
    each = sorted(set(values))
    said = listing([str(value) for value in each]) if len(each) <= 4 else f"{each[0]} to {each[-1]} ({len(each)})"
    return f"{noun}{'s' if len(each) > 1 else ''} {said}" if noun else said


def _three_figures(number: float) -> str:
    exponent = floor(log10(float(f"{number:.2e}")))
    return f"{number:.{max(0, 2 - exponent)}f}"
