"""What parts of a job file say, for a person."""

from distill.contracts.objective import FeatureTerm, FlowPair, LabelsTerm, Pair, ServedTarget, Term
from distill.contracts.schedules import Schedule, Steps


def term_in_words(term: Term) -> str:
    """Such as ``0.9 x soft targets (temperature 4)``."""
    settings = [f"{name} {_setting(value)}" for name, value in _own_settings(term).items()]
    if isinstance(term, FeatureTerm):
        settings.append(", ".join(_pair(pair) for pair in term.pairs))
    if not isinstance(term, LabelsTerm) and not isinstance(term.target, ServedTarget):
        settings.append(f"from {term.target.source}")
    name = term.kind.replace("_", " ")
    return f"{scheduled_in_words(term.weight)} x {name}" + (f" ({'; '.join(settings)})" if settings else "")


def scheduled_in_words(value: float | Schedule) -> str:
    """Such as ``4`` or ``4 to 1``."""
    if isinstance(value, Steps):
        return " then ".join(f"{step:g}" for step in value.values)
    return f"{value:g}" if isinstance(value, int | float) else f"{value.start:g} to {value.stop:g}"


def _own_settings(term: Term) -> dict[str, object]:
    said = {"kind", "weight", "target", "pairs"}
    values = {name: getattr(term, name) for name in type(term).model_fields if name not in said}
    always = {"temperature"}
    defaults = {name: field.default for name, field in type(term).model_fields.items()}
    return {name: value for name, value in values.items() if name in always or value != defaults[name]}


def _setting(value: object) -> str:
    return scheduled_in_words(value) if isinstance(value, int | float | Schedule) else str(value)


def _pair(pair: Pair | FlowPair) -> str:
    if isinstance(pair, Pair):
        return f"{pair.student} like {pair.teacher}"
    return f"{' to '.join(pair.student)} like {' to '.join(pair.teacher)}"
