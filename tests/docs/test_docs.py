"""What the documents say is so: snippets fit the schema, links lead somewhere, commands and settings exist."""

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from pydantic import BaseModel, TypeAdapter

from distill.contracts import names
from distill.contracts.ensemble import EnsembleSpec, MembersSpec
from distill.contracts.job import JobSpec
from distill.contracts.names import Kind
from distill.contracts.objective import Target, Term
from distill.contracts.records import JobState, Phase
from distill.contracts.scheme import SchemeSpec
from distill.contracts.study import StudySpec
from distill.contracts.teachers import MemberFromFile, TeacherSpec, TeacherVersionSpec
from services.cli.files import load_spec
from services.cli.main import app
from services.control_plane.life import EDGES
from services.control_plane.main import create_app
from services.control_plane.settings import Settings
from tests.bad_input.cases import AT_CHECK, AT_SUBMIT, AT_SUBMIT_OF_STUDY

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").glob("*.md")])
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
KNOWLEDGE = (ROOT / "docs/knowledge.md").read_text()
SETTINGS = (ROOT / "docs/settings.md").read_text()
PACKAGES = ("distill", "services", "student_worker", "teacher_server")

SNIPPET = re.compile(r"^```(yaml|json|sh|python)(?: (\w+))?\n(.*?)^```$", re.M | re.S)
"""Language, what it is meant to be, and the text of a fenced block."""
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:distill|services|student_worker|teacher_server|tests|deploy|examples|docs)/[\w./-]*)`")
DOTTED = re.compile(r"`((?:distill|services|student_worker|teacher_server)\.[\w.]+)`")
COMMAND = re.compile(r"(?:^|[=(]|`)stillhouse (?:[^#\n`)]*)", re.M)
SMALLEST = {"name": "a", "dataset": {"source": "digits"}, "student": {"source": "zoo", "name": "mlp"}}


def snippets(language: str, meant: str | None = None) -> list[str]:
    """The README's blocks of a language, as a ``meant`` thing or whatever they are meant to be."""
    return [text for one, what, text in SNIPPET.findall(README) if one == language and meant in {None, what}]


def of(document: Path) -> str:
    """What a test of this document is called."""
    return str(document.relative_to(ROOT))


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both mappings, and those within them, as one."""
    both = {key: merged(one[key], other[key]) for key in one.keys() & other.keys() if isinstance(one[key], dict)}
    return {**one, **other, **both}


@pytest.mark.parametrize("text", [*snippets("yaml"), *snippets("json")], ids=lambda text: text.split("\n")[0][:30])
def test_every_snippet_says_what_it_is_meant_to_be(text: str):
    meant = next(what for _, what, one in SNIPPET.findall(README) if one == text)
    assert meant in {"job", "study", "member", "defaults", "more"}


@pytest.mark.parametrize("text", [*snippets("yaml", "study"), *snippets("json", "study")])
def test_studies_fit_the_schema(text: str):
    assert StudySpec.model_validate(yaml.safe_load(text)).children().keys() == {"student", "baseline"}


def test_the_explained_study_is_the_shipped_one():
    (text,) = snippets("yaml", "study")
    assert StudySpec.model_validate(yaml.safe_load(text)) == load_spec(ROOT / "examples/fashion-study.yaml")


def test_what_more_a_study_may_say_fits_the_schema():
    (text,) = snippets("yaml", "more")
    (study,) = snippets("yaml", "study")
    assert len(StudySpec.model_validate(yaml.safe_load(study) | yaml.safe_load(text)).children()) == 3 * 2 * 4


@pytest.mark.parametrize(
    ("union", "tag"),
    [(Term, "kind"), (Target, "source"), (EnsembleSpec, "combine"), (MembersSpec, "kind"), (SchemeSpec, "kind")],
)
def test_every_kind_of_knowledge_is_told(union: Any, tag: str):
    schema = TypeAdapter(union).json_schema()
    assert [kind for kind in schema["discriminator"]["mapping"] if kind not in KNOWLEDGE] == [], tag


@pytest.mark.parametrize("text", snippets("yaml", "job"))
def test_jobs_fit_the_schema(text: str):
    assert JobSpec.model_validate(yaml.safe_load(text)).name


@pytest.mark.parametrize("text", snippets("yaml", "member"))
def test_members_fit_the_schema(text: str):
    member = {"source": "file", "path": "own/net.safetensors", **yaml.safe_load(text)}
    assert MemberFromFile.model_validate(member).classes


def test_what_is_called_a_default_is_one():
    (text,) = snippets("yaml", "defaults")
    written_out = JobSpec.model_validate(merged(SMALLEST, yaml.safe_load(text)))
    assert written_out == JobSpec.model_validate(SMALLEST)


def test_every_default_is_told():
    (text,) = snippets("yaml", "defaults")
    told = yaml.safe_load(text)
    defaults = JobSpec.model_validate(SMALLEST).model_dump(mode="json", exclude={"name", "student"})
    assert told.keys() == defaults.keys()
    for section in ("dataset", "training", "compute", "limits", "answers", "evaluation"):
        assert told[section].keys() == defaults[section].keys() - {"source"}, section


@pytest.mark.parametrize("text", snippets("python"))
def test_python_is_python(text: str):
    assert ast.parse(text).body


@pytest.mark.parametrize(
    ("path", "model"), [("/v1/teachers", TeacherSpec), ("/v1/teachers/fashion/versions", TeacherVersionSpec)]
)
def test_bodies_in_curl_lines_fit_the_schema(path: str, model: type[BaseModel]):
    sent = re.findall(r"-d '(\{.*?\})' \$HOUSE(\S+)", README, re.S)
    assert [model.model_validate(json.loads(body)) for body, to in sent if to == path]


def test_every_route_in_the_readme_exists():
    environment = {
        "STILLHOUSE_REDIS_URL": "redis://",
        "STILLHOUSE_STORAGE": "/x",
        "STILLHOUSE_RAY_DASHBOARD": "http://127.0.0.1:1",
    }
    known = create_app(Settings.from_environment(environment)).openapi()["paths"]
    routes = [re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in known]
    asked = set(re.findall(r"(/v1/[^\s\"`?]+)", README))
    assert len(asked) > 5
    assert [path for path in asked if not any(route.fullmatch(path) for route in routes)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=of)
def test_every_relative_link_leads_somewhere(document: Path):
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not leads_somewhere(document, link)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=of)
def test_every_file_that_is_named_is_there(document: Path):
    paths = PATH.findall(document.read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=of)
def test_every_python_name_exists(document: Path):
    dotted = DOTTED.findall(document.read_text())
    assert [name for name in dotted if not exists(name)] == []


@pytest.mark.parametrize("line", sorted({line.lstrip("=(`").strip() for line in COMMAND.findall(README)}))
def test_every_command_in_the_readme_exists(line: str):
    command = typer.main.get_command(app)
    words = shlex.split(line.partition(" > ")[0])[1:]
    while words and not words[0].startswith("-") and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    is_whole = not getattr(command, "commands", None) or command.invoke_without_command
    assert is_whole or words[0] in {"--server", "--key-file", "--team"}
    assert {word for word in words if word.startswith("-")} <= options


def test_every_command_is_in_the_readme():
    program = typer.main.get_command(app)
    groups = {name: getattr(command, "commands", None) for name, command in program.commands.items()}
    commands = [name for name, below in groups.items() if below is None]
    commands += [f"{name} {one}" for name, below in groups.items() for one in below or ()]
    assert [name for name in commands if not re.search(rf"stillhouse {name}\W", README)] == []


def test_every_make_target_in_the_documents_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    told = {
        target
        for document in DOCUMENTS
        for line in re.findall(r"(?:^|`)make ([a-z -]+)", document.read_text(), re.M)
        for target in line.split()
    }
    assert {"demo", "test"} <= told <= targets


def test_every_variable_that_we_read_is_described():
    sources = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    sources += [ROOT / "docker-compose.yml", *(file for file in (ROOT / "deploy").rglob("*") if file.is_file())]
    read = {name for file in sources for name in re.findall(r"\bSTILLHOUSE_[A-Z_]*[A-Z]", file.read_text())}
    assert "STILLHOUSE_STORAGE" in read
    assert [name for name in sorted(read) if f"`{name}`" not in SETTINGS] == []


def test_every_variable_that_is_described_exists():
    told = set(re.findall(r"`(STILLHOUSE_[A-Z_]*[A-Z])`", SETTINGS))
    code = "".join(file.read_text() for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    assert [name for name in sorted(told) if name not in code] == []


def test_the_state_table_has_the_edges_of_the_code():
    rows = re.findall(r"^\| ([A-Z]+) \| ([A-Z, ]+) \|$", ARCHITECTURE, re.M)
    told = {JobState(state): {JobState(to) for to in after.split(", ")} for state, after in rows}
    assert told == {state: set(after) for state, after in EDGES.items() if after}


def test_every_phase_is_told_in_order():
    rows = re.findall(r"^\| `(\w+)` \| (?:control plane|driver|rank 0) \|", ARCHITECTURE, re.M)
    assert rows == list(Phase)


def test_every_redis_key_is_told():
    kind: Kind = "<kind>"  # type: ignore[assignment]  # the documents' word for any of them
    keys = [
        *(make(kind, "<id>") for make in (names.record_key, names.inbox_key, names.events_key, names.webhook_key)),
        *(make("<id>") for make in (names.progress_key, names.directive_key, names.lease_key)),
        names.index_key(kind),
        *(names.list_key(kind, "<team>"), names.list_key(kind, "<team>", "<which>")),
        names.active_key(kind),
        *(names.baselines_key("<team>"), names.answer_key("<team>", "<digest>")),
        *(names.TEAM_WEIGHTS_KEY, names.TEAMS_KEY, names.TEAM_ACCOUNTS_KEY),
        *(names.RESERVATIONS_KEY, names.reservation_key("<id>"), names.KEYS_KEY, names.key_key("<id>")),
        *(names.load_key("<application>"), names.usage_key("<team>", "<month>"), names.usage_writer_key("<id>")),
        *(names.storage_key("<month>"), names.WEBHOOKS_KEY),
        *(names.WAKE_KEY, names.RECONCILER_KEY, names.LISTED_KEY, names.PROBE_KEY, names.DELETED_KEY, names.SCHEMA_KEY),
        *(names.MIGRATING_KEY, names.MIGRATION_KEY, names.RESTORING_KEY, names.ORPHANS_KEY, names.COLLECTED_KEY),
        names.AUDIT_KEY,
    ]
    assert re.findall(r"^\| `(stillhouse:\S+)` \|", ARCHITECTURE, re.M) == keys


def test_every_key_that_the_table_gives_a_time_has_one_and_no_other():
    rows = re.findall(r"^\| `(stillhouse:\S+)` \| .* \| (.+) \|$", ARCHITECTURE, re.M)
    timed = {key for key, ends in rows if re.match(r"(about )?(\d+ s|a day|a month|an hour|\w+ hours)\b", ends)}
    named = {key: re.sub(r"<(?!kind)\w+>", "x", key).replace("<kind>", "job") for key, _ in rows}
    assert {key for key, name in named.items() if not names.is_permanent(name)} == timed


def leads_somewhere(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    if not anchor or not target.is_file():
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
    return anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def exists(dotted: str) -> bool:
    """Whether the code defines this name; read, not imported, since torch and Ray take their time."""
    place, rest = ROOT, dotted.split(".")
    while rest and (place / rest[0]).is_dir():
        place /= rest.pop(0)
    if not rest:
        return place != ROOT
    file = place / f"{rest[0]}.py"
    body: list[ast.stmt] = ast.parse(file.read_text()).body if file.is_file() else []
    for name in rest[1:]:
        found = [node for node in body if name in defined_by(node)]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return file.is_file()


def defined_by(node: ast.stmt) -> set[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()


def test_the_readme_counts_the_mistakes_that_are_told():
    (count,) = re.findall(r"\[(\d+) of them, and their answers\]", README)
    assert int(count) == len(AT_SUBMIT) + len(AT_SUBMIT_OF_STUDY) + len(AT_CHECK)
