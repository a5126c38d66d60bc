"""What parts of a job file say, for a person."""

from collections.abc import Iterator

from distill.contracts.ensemble import (
    AllMembers,
    BestMember,
    EnsembleSpec,
    MembersInOrder,
    PerMemberHeads,
    RandomMember,
    SteppedMembers,
    Weighted,
)
from distill.contracts.objective import FeatureTerm, FlowPair, LabelsTerm, Pair, ServedTarget, TaughtTerm, Term
from distill.contracts.schedules import Cosine, Schedule, Steps
from distill.contracts.scheme import Offline, Online, SchemeSpec


def term_in_words(term: Term) -> str:
    """Such as ``0.9 x soft targets (temperature 4)``."""
    settings = [_named_setting(name, value) for name, value in _own_settings(term).items()]
    if isinstance(term, FeatureTerm):
        settings.append(", ".join(_pair(pair) for pair in term.pairs))
    if not isinstance(term, LabelsTerm):
        settings.extend(_target(term))
    name = term.kind.replace("_", " ")
    return f"{scheduled_in_words(term.weight)} x {name}" + (f" ({'; '.join(settings)})" if settings else "")


def scheduled_in_words(value: float | Schedule) -> str:
    """Such as ``4``, ``4 to 1``, or ``1 then 0.5 from 50 %`` of the steps."""
    if isinstance(value, Steps):
        later = zip(value.values[1:], value.at, strict=True)
        return " then ".join([f"{value.values[0]:g}", *(f"{step:g} from {100 * at:g} %" for step, at in later)])
    if isinstance(value, int | float):
        return f"{value:g}"
    ramp = f"{value.start:g} to {value.stop:g}" + (" along a cosine" if isinstance(value, Cosine) else "")
    whole = (value.begin, value.end) == (0.0, 1.0)
    return ramp if whole else f"{ramp} between {100 * value.begin:g} and {100 * value.end:g} %"


def ensemble_in_words(spec: EnsembleSpec) -> str:
    """Such as ``combined by mean probability, one random member a step``."""
    words = {
        "each": "each heard on its own",
        "label_aware": "weighed by the true labels",
        "entropy": "weighed by entropy",
    }
    combined = words.get(spec.combine, f"combined by {spec.combine.replace('_', ' ')}")
    if isinstance(spec, Weighted):
        combined = f"weighted {', '.join(f'{weight:g}' for weight in spec.weights)}"
    if isinstance(spec, PerMemberHeads):
        folded = ", folded into one" if spec.export == "folded" else ""
        combined = f"a head for each member, aggregated by {spec.aggregate.replace('_', ' ')}{folded}"
    members = _members(spec)
    return f"{combined}, {members}" if members else combined


def scheme_in_words(spec: SchemeSpec) -> str:
    """Such as ``online with 2 peers``; empty for the usual one, ``offline``."""
    if isinstance(spec, Offline):
        return ""
    if isinstance(spec, Online):
        peers = f"online with {len(spec.peers)} {'peer' if len(spec.peers) == 1 else 'peers'}"
        return f"{peers} and a head on their joined features" if spec.fusion is not None else peers
    parts = [f"a moving average (decay {spec.average.decay:g})"] if spec.average is not None else []
    parts += [f"a view of the same images ({spec.view.transform})"] if spec.view is not None else []
    return "self-taught" + (f" with {' and '.join(parts)}" if parts else "")


def _members(spec: EnsembleSpec) -> str:
    match spec.members:
        case AllMembers():
            return ""
        case SteppedMembers(values=values, at=at):
            said = [f"members {', '.join(str(member) for member in members)}" for members in values]
            return " then ".join(
                [said[0], *(f"{text} from {100 * moment:g} %" for text, moment in zip(said[1:], at, strict=True))]
            )
        case MembersInOrder():
            return "one member after another"
        case RandomMember():
            return "one random member a step"
        case BestMember():
            return "the best member on validation rows alone"


def _own_settings(term: Term) -> dict[str, object]:
    said = {"kind", "weight", "target", "pairs"}
    values = {name: getattr(term, name) for name in type(term).model_fields if name not in said}
    always = {"temperature"}
    defaults = {name: field.default for name, field in type(term).model_fields.items()}
    return {name: value for name, value in values.items() if name in always or value != defaults[name]}


def _named_setting(name: str, value: object) -> str:
    words = name.replace("_", " ")
    return words if value is True else f"{words} {_setting(value)}"


def _target(term: TaughtTerm) -> Iterator[str]:
    target = term.target
    if not isinstance(target, ServedTarget):
        yield f"from {target.source}"
    elif target.teacher is not None:
        yield f"from teacher {target.teacher}" + (f", member {target.member}" if target.member is not None else "")


def _setting(value: object) -> str:
    return scheduled_in_words(value) if isinstance(value, int | float | Schedule) else str(value)


def _pair(pair: Pair | FlowPair) -> str:
    if isinstance(pair, Pair):
        return f"{pair.student} like {pair.teacher}"
    return f"{' to '.join(pair.student)} like {' to '.join(pair.teacher)}"
