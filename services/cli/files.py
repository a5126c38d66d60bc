"""Job and study files: YAML whose errors name the line, checked by the same contracts as on the server."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from distill.contracts.errors import InvalidSpec, Problem
from distill.contracts.explain import explain
from distill.contracts.job import JobSpec
from distill.contracts.study import StudySpec

Model = TypeVar("Model")

MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def load_spec(path: Path) -> JobSpec | StudySpec:
    """The job or study of a file: a study has a key ``job``.

    Raises:
        InvalidSpec: it can't be read, isn't YAML, or isn't what the contracts ask for; line and field are named.
    """
    value, root = load_yaml(path)
    if not isinstance(value, dict):
        raise InvalidSpec(
            f"{path} holds {type(value).__name__}, not a job or a study", expected="a mapping that begins with 'name:'"
        )
    model: TypeAdapter[JobSpec | StudySpec] = TypeAdapter(StudySpec if "job" in value else JobSpec)
    return validated(model, value, where=str(path), root=root)


def load_yaml(path: Path) -> tuple[Any, yaml.Node | None]:
    """A file's value, and its tree with line numbers. Raises as `load_spec`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidSpec(f"{path} is larger than a job file may be", expected=f"at most {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
        return yaml.load(text, Loader=_Loader), yaml.compose(text, Loader=_Loader)  # noqa: S506 - it is a safe one
    except OSError as error:
        raise InvalidSpec(f"{path} can't be read: {error.strerror}", got=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path} is not UTF-8 text", got=str(path)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise InvalidSpec(f"{place}: not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise InvalidSpec(f"{path}: not YAML: {error}") from error
    except RecursionError as error:
        raise InvalidSpec(f"{path} is nested too deeply") from error


def validated(model: TypeAdapter[Model], value: Any, *, where: str, root: yaml.Node | None = None) -> Model:
    """``value`` as the model, or the server's own words for what is wrong with it, with the line of each.

    Raises:
        InvalidSpec: it isn't; all errors are in the message, the first one in the details.
    """
    try:
        return model.validate_python(value)
    except ValidationError as error:
        problems = explain(error.errors(include_url=False), value)
        lines = [_place(where, root, problem.field) + _told(problem) for problem in problems]
        first = problems[0].model_dump(include={"field", "got", "expected"}, exclude_none=True)
        raise InvalidSpec("\n       ".join(lines), **first) from error


def as_adapter(model: type[BaseModel]) -> TypeAdapter[Any]:
    """The model as `validated` takes it."""
    return TypeAdapter(model)


def _told(problem: Problem) -> str:
    came = "" if problem.got is None or problem.got in problem.message else f"; it is {problem.got}"
    return problem.message + came + (f" ({problem.hint})" if problem.hint else "")


def _place(where: str, root: yaml.Node | None, field: str | None) -> str:
    node = root
    for part in (field or "").split("."):
        node = _step(node, part) or node
    return f"{where}: " if node is None else f"{where}, line {node.start_mark.line + 1}: "


def _step(node: yaml.Node | None, part: str) -> yaml.Node | None:
    """The value below; None where there is none, as for a key that is missing."""
    if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
        found: yaml.Node = node.value[int(part)]
        return found
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None
