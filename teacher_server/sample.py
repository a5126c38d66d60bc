"""Is a remembered answer what the teacher says today? A sample of rows, asked again live, against what the book has.

Shapes: S rows of the sample, M members, C classes, k of them named.
"""

from collections.abc import Mapping

import numpy as np

from teacher_server.window import LOGITS, TOP_CLASSES, TOP_LOG_PROBS, TOP_TAIL, Array

MAX_PROBABILITY_GAP = 1e-3
"""Half precision and another device change a probability by less."""
MAX_TAP_GAP = 0.02
"""Of a tap's greatest magnitude: a feature in half precision, from a forward pass in bfloat16, has 8 bits."""


def sample_of(rows: Array, most: int) -> Array:
    """At most so many of the rows, spread evenly over them."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.intp)]


def difference(live: Mapping[str, Array], recalled: Mapping[str, Array]) -> str | None:
    """What is not the same in two answers (S, ...) to the same rows, in words; None if nothing is.

    The top class must be equal, and no probability differ by more than `MAX_PROBABILITY_GAP`; classes that are as near
    to each other as that are equally the top.
    """
    layouts = [{name: (str(part.dtype), part.shape) for name, part in answer.items()} for answer in (live, recalled)]
    if layouts[0] != layouts[1]:
        return f"answers have other tensors: computed {layouts[0]}, recalled {layouts[1]}"
    for name in live:
        # float64: half precision would overflow in the differences
        gap = _gap(name, live, recalled)
        bound = MAX_TAP_GAP if name.startswith("tap.") else MAX_PROBABILITY_GAP
        if not gap <= bound:  # a NaN is a difference too
            return f"'{name}' differs by {gap:.2g}, and may by {bound:g}"
    if not _tops_agree(live, recalled):
        return "the top class differs"
    return None


def _gap(name: str, live: Mapping[str, Array], recalled: Mapping[str, Array]) -> float:
    ours, theirs = live[name].astype(np.float64), recalled[name].astype(np.float64)
    if name == TOP_CLASSES:
        return 0.0
    if name == TOP_LOG_PROBS:
        return float(np.abs(np.exp(ours) - np.exp(theirs)).max())
    if name == TOP_TAIL:
        return float(np.abs(ours - theirs).max())
    if name == LOGITS:
        return float(np.abs(_softmax(ours) - _softmax(theirs)).max())
    return float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), np.finfo(np.float32).tiny))


def _tops_agree(live: Mapping[str, Array], recalled: Mapping[str, Array]) -> bool:
    if LOGITS in live:
        probs_SMC = _softmax(recalled[LOGITS].astype(np.float64))
        top_SM1 = live[LOGITS].argmax(axis=-1)[..., None]
        of_top = np.take_along_axis(probs_SMC, top_SM1, axis=-1)[..., 0]
        return bool((of_top >= probs_SMC.max(axis=-1) - MAX_PROBABILITY_GAP).all())
    probs_SMk = np.exp(recalled[TOP_LOG_PROBS].astype(np.float64))
    is_top_SMk = recalled[TOP_CLASSES] == live[TOP_CLASSES][..., :1]
    of_top = np.where(is_top_SMk, probs_SMk, 0).max(axis=-1)
    return bool((of_top >= probs_SMk.max(axis=-1) - MAX_PROBABILITY_GAP).all())


def _softmax(logits: Array) -> Array:
    powers: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probs
