"""What pydantic found, in the words of the job file: which field, what came, what was expected, what was meant."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from distill.contracts.base import Spec
from distill.contracts.errors import Problem

OWN_FIELD = re.compile(r"^([a-z_]+(?:\.[a-z_0-9]+)*): ")
"""Validators of whole specs begin their messages with the field that they mean."""
WORD = re.compile(r"'([^']+)'")
"""One of the values that pydantic lists as ``'a', 'b' or 'c'``."""
CLOSE = 0.7
"""How alike two words are, at least, where one may be meant by the other: of values, whose others are often other things."""
OUTSIDE_BODY = {"query", "path", "header"}


def explain(errors: Iterable[Mapping[str, Any]], body: Any) -> list[Problem]:
    """A problem for each error, without those that only follow from another.

    Args:
        errors: as pydantic or FastAPI list them.
        body: what was validated: the tags of unions, which pydantic puts into locations, are told from keys by it.
    """
    errors = list(errors)
    return [_problem(error, body) for error in errors if not _follows(error, errors)]


def _problem(error: Mapping[str, Any], body: Any) -> Problem:
    kind = str(error["type"])
    if kind == "json_invalid":
        why = error.get("ctx", {}).get("error", error["msg"])
        return Problem(code="invalid_json", message=f"the body is not JSON: {why}")
    path, message, expected = _field_of(error["loc"], kind, body), _words(error), None
    own = OWN_FIELD.match(message) if kind == "value_error" else None
    if own:
        path, message = [*path, own[1]], message[own.end() :]
    context = error.get("ctx", {})
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        path = [*path, _key_of(str(context["discriminator"]))]
    if kind == "union_tag_invalid":
        expected = f"one of {context['expected_tags']}"
        message = f"must be {expected}"
    elif message.startswith("must be "):
        expected = message.removeprefix("must be ")
    elif message.startswith("expected "):
        expected = message.removeprefix("expected ")
    got = context.get("tag", error.get("input"))
    field = ".".join(path) or None
    return Problem(
        code="invalid_spec",
        message=f"{field}: {message}" if field else message,
        field=field,
        expected=expected,
        got=None if kind == "missing" or isinstance(got, dict | list) else repr(got)[:200],
        hint=_hint(path[-1], beside=_keys_at(path[:-1], body)) if kind == "extra_forbidden" else _meant(got, context),
    )


def _meant(got: Any, context: Mapping[str, Any]) -> str | None:
    """The one of few values that the wrong one looks like; None where it looks like none of them."""
    choices = WORD.findall(str(context.get("expected_tags") or context.get("expected") or ""))
    near = difflib.get_close_matches(str(got)[:100].lower(), choices, n=1, cutoff=CLOSE)
    return f"did you mean {near[0]!r}?" if near else None


def _words(error: Mapping[str, Any]) -> str:
    match str(error["type"]):
        case "extra_forbidden":
            return "there is no such key"
        case "missing":
            return "is missing"
        case "union_tag_not_found":
            return "is missing: it says which kind is meant"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a mapping of keys to values"
        case "tuple_type" | "list_type":
            return "must be a list"
        case "string_type":
            return "must be text"
        case _:
            text = str(error["msg"]).removeprefix("Value error, ")
            text = re.sub(r"^(?:Input|Tuple|String|List|Dictionary|Value) should ", "must ", text)
            return text.replace(" after validation", "")


def _key_of(discriminator: str) -> str:
    """The key that says which kind is meant, as the file has it: pydantic names a field and its alias, ``'a' | 'b'``."""
    return discriminator.rsplit(" | ", maxsplit=1)[-1].strip("'")


def _field_of(location: Sequence[str | int], kind: str, body: Any) -> list[str]:
    """The location without the tags of unions: only steps that the body has too."""
    place, *rest = location or ("body",)
    if place in OUTSIDE_BODY:
        return [str(part) for part in rest]
    if place != "body":
        rest = list(location)
    path, here = [], body
    for position, part in enumerate(rest):
        is_key = isinstance(here, dict) and part in here
        is_index = isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)
        if is_key or is_index:
            here = here[part]
        elif not (kind == "missing" and position == len(rest) - 1):
            continue
        path.append(str(part))
    return path


def _follows(error: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> bool:
    """A list that is too short only since one of its items is wrong."""
    place = tuple(error["loc"])
    return error["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and tuple(other["loc"][: len(place)]) == place for other in errors
    )


def _keys_at(path: Sequence[str], body: Any) -> set[str]:
    """The keys of the object there."""
    for step in path:
        body = body[int(step)] if isinstance(body, list | tuple) else body[step]
    return set(body)


def _hint(key: str, *, beside: AbstractSet[str]) -> str:
    forms = _keys_of_forms()
    everywhere = frozenset().union(*forms)
    known_beside = beside & everywhere - {key}
    # what may stand beside the keys that are there; a word that is right elsewhere is still a slip of the pen here
    here = frozenset().union(*(keys for keys in forms if known_beside and known_beside <= keys)) - beside
    if near := difflib.get_close_matches(key, sorted(here), n=1, cutoff=0.8):
        return f"did you mean {near[0]!r}?"
    if key in everywhere:
        return "this key belongs elsewhere in the file"
    near = difflib.get_close_matches(key, sorted(everywhere), n=1)
    return f"did you mean {near[0]!r}?" if near else "look at the job file's documentation, or drop the key"


@cache
def _keys_of_forms() -> tuple[frozenset[str], ...]:
    """Of each object that may stand in a file."""
    forms: list[frozenset[str]] = []
    waiting = [Spec]
    while waiting:
        spec = waiting.pop()
        forms.append(frozenset(field.alias or name for name, field in spec.model_fields.items()))
        waiting += spec.__subclasses__()
    return tuple(forms)
