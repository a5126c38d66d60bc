"""Which members speak at which step.

Shapes: N rows, M members of all teachers in job-file order, C classes.
"""

from bisect import bisect_right

from torch import Tensor

from distill.contracts.ensemble import BestMember, MembersInOrder, MembersSpec, RandomMember, SteppedMembers
from distill.science.seeds import mixed_seed

MANY_STEPS = 1_000_000
"""Its last step is later than any moment that a job file names before the end."""


def members_at(
    spec: MembersSpec, *, step: int, num_steps: int, num_members: int, seed: int, best: int | None = None
) -> tuple[int, ...]:
    """Positions of the members that are asked at ``step``, rising.

    Args:
        spec: who is asked when; a pure function, so a resumed training asks whom it would have asked.
        step: of the whole training, from 0.
        num_steps: of the whole training; progress is step / num_steps.
        num_members: M.
        seed: of the training: with ``step`` it draws the random member.
        best: position of the best member, as `best_member` gives it; only ``best`` needs it.

    Raises:
        ValueError: the step is not one of the training's, ``best`` is needed and missing, or a position is not one
            of a member.
    """
    if not 0 <= step < num_steps:
        raise ValueError(f"step {step} is none of a training of {num_steps} steps, which are counted from 0")
    members = _members(spec, step, num_steps, num_members, seed, best)
    if not all(0 <= member < num_members for member in members):
        raise ValueError(f"members {list(members)} are asked, and there are {num_members}, counted from 0")
    return tuple(sorted(members))


def members_at_the_end(spec: MembersSpec, *, num_members: int, best: int | None = None) -> tuple[int, ...]:
    """Who makes up the ensemble that a student is measured against: those of the last step, or all where it is chance."""
    if isinstance(spec, RandomMember):
        return tuple(range(num_members))
    return members_at(spec, step=MANY_STEPS - 1, num_steps=MANY_STEPS, num_members=num_members, seed=0, best=best)


def best_member(logits_NMC: Tensor, labels_N: Tensor) -> int:
    """Position of the member that is right most often on the labelled rows; of equals, the first.

    Args:
        logits_NMC: every member's logits, (N, M, C).
        labels_N: class numbers, (N,) int64, negative where a row has none.

    Raises:
        ValueError: the shapes don't fit, or no row has a label.
    """
    if logits_NMC.dim() != 3 or labels_N.shape != logits_NMC.shape[:1]:
        raise ValueError(f"labels {tuple(labels_N.shape)} don't fit logits {tuple(logits_NMC.shape)}: (N, M, C)")
    if not (labels_N >= 0).any():
        raise ValueError("no row has a label, so no member is known to be the best")
    # no class has a negative number: a row without a label is nobody's right answer
    right_NM = logits_NMC.argmax(dim=2) == labels_N.to(logits_NMC.device)[:, None]
    num_right = right_NM.sum(dim=0).tolist()
    return num_right.index(max(num_right))


def _members(
    spec: MembersSpec, step: int, num_steps: int, num_members: int, seed: int, best: int | None
) -> tuple[int, ...]:
    if isinstance(spec, SteppedMembers):
        return spec.values[bisect_right(spec.at, step / num_steps)]
    if isinstance(spec, MembersInOrder):
        return (step * num_members // num_steps,)
    if isinstance(spec, RandomMember):
        return (mixed_seed(seed, step) % num_members,)
    if not isinstance(spec, BestMember):
        return tuple(range(num_members))
    if best is None:
        raise ValueError("the best member is asked for before anybody has said which it is")
    return (best,)
