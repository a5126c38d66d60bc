"""Whether what a job's terms learn from is there: somebody supplies each target, and nobody teaches in vain."""

from collections.abc import Sequence
from itertools import pairwise

from distill.contracts.objective import (
    AverageTarget,
    FeatureTerm,
    FlowPair,
    FusedTarget,
    LabelsTerm,
    Pair,
    PeersTarget,
    SelfTarget,
    ServedTarget,
    TaughtTerm,
    Term,
    ViewTarget,
)
from distill.contracts.schedules import Schedule, extremes, turns, value_at
from distill.contracts.scheme import Fusion, MovingAverage, Online, SchemeSpec, SelfTaught, Transformed


def taught_terms(objective: Sequence[Term]) -> list[TaughtTerm]:
    """The terms that need somebody's answers, not labels alone."""
    return [term for term in objective if not isinstance(term, LabelsTerm)]


def check_always_learned(weights: Sequence[float | Schedule]) -> None:
    """See that at every moment, but for single ones, some weight is more than 0.

    Raises:
        ValueError: naming the first stretch of the training in which nothing would be learned.
    """
    if not any(extremes(weight)[1] > 0 for weight in weights):
        raise ValueError("objective: every weight is 0, so nothing would be learned; give one term a weight > 0")
    moments = sorted({0.0, 1.0, *(moment for weight in weights for moment in turns(weight))})
    for begin, end in pairwise(moments):
        if not any(value_at(weight, (begin + end) / 2) > 0 for weight in weights):
            raise ValueError(
                f"objective: from progress {begin:g} to {end:g} every weight is 0, so nothing would be learned; give "
                "one term a weight > 0 there"
            )


def check_target(term: TaughtTerm, scheme: SchemeSpec, *, num_teachers: int, field: str) -> None:
    """See that the scheme, or the pool, supplies a term's target, and that it is another than the student's own answer.

    Raises:
        ValueError: beginning with the field to mend.
    """
    match term.target, scheme:
        case ServedTarget(), _ if not num_teachers:
            raise ValueError(
                f"{field}.target: '{term.kind}' needs a teacher, and 'teachers' is empty; name one, drop the term, or "
                "give it another target"
            )
        case ServedTarget(teacher=int(teacher)), _ if teacher >= num_teachers:
            raise ValueError(
                f"{field}.target.teacher: there is none at position {teacher}; those in 'teachers' go from 0 to "
                f"{num_teachers - 1}"
            )
        case FusedTarget(), Online(fusion=Fusion()) if isinstance(term, FeatureTerm):
            raise ValueError(
                f"{field}.target: '{term.kind}' compares modules, and the fused head has none to name; take a term on "
                "answers, or the target 'peers'"
            )
        case SelfTarget(), SelfTaught():
            _check_not_itself(term, field)
        case (ServedTarget(), _) | (PeersTarget(), Online()):
            return
        case (FusedTarget(), Online(fusion=Fusion())) | (AverageTarget(), SelfTaught(average=MovingAverage())):
            return
        case ViewTarget(), SelfTaught(view=Transformed()):
            return
        case _:
            source = term.target.source
            raise ValueError(
                f"{field}.target: the target of '{term.kind}' comes from '{source}', and {SUPPLIED_BY[source]}"
            )


def check_all_used(scheme: SchemeSpec, objective: Sequence[Term]) -> None:
    """See that whoever the scheme trains or computes teaches somebody.

    Raises:
        ValueError: beginning with the field to mend.
    """
    used = {term.target.source for term in taught_terms(objective) if extremes(term.weight)[1] > 0}
    supplied = {
        "scheme.peers": ({"peers", "fused"}, isinstance(scheme, Online)),
        "scheme.fusion": ({"fused"}, isinstance(scheme, Online) and scheme.fusion is not None),
        "scheme.average": ({"average"}, isinstance(scheme, SelfTaught) and scheme.average is not None),
        "scheme.view": ({"view"}, isinstance(scheme, SelfTaught) and scheme.view is not None),
    }
    for field, (sources, is_there) in supplied.items():
        if is_there and not sources & used:
            source = field.removeprefix("scheme.").replace("fusion", "fused")
            raise ValueError(
                f"{field}: no term of the objective learns from it; give one 'target: {{from: {source}}}' and a weight > 0, "
                "or drop it"
            )


def _check_not_itself(term: TaughtTerm, field: str) -> None:
    if isinstance(term, FeatureTerm):
        pairs: Sequence[Pair | FlowPair] = term.pairs
        for place, pair in enumerate(pairs):
            if pair.student == pair.teacher:
                raise ValueError(
                    f"{field}.pairs.{place}: both sides are the student's own {pair.student!r}, so there is nothing to "
                    "learn; name a later module for the teacher"
                )
    elif term.at is None:
        raise ValueError(
            f"{field}.at: is missing: the student's last layer can't learn from itself; name an earlier module"
        )


SUPPLIED_BY = {
    "peers": "only the scheme 'online' supplies that; set scheme.kind and scheme.peers",
    "fused": "only the scheme 'online' with 'fusion' supplies that; set scheme.fusion",
    "self": "only the scheme 'self' supplies that; set scheme.kind",
    "average": "only the scheme 'self' with 'average' supplies that; set scheme.average",
    "view": "only the scheme 'self' with 'view' supplies that; set scheme.view",
}
"""What a person has to set for a target of each source."""
