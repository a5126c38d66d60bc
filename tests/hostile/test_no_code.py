"""Nothing of ours loads code, or what can hold code, but where the operator names it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill.contracts.errors import InvalidSpec
from distill.contracts.models import PluginModel
from distill.science.models import plugin
from tests.hostile.reader import INPUT

ROOT = Path(__file__).parents[2]
PACKAGES = ("distill", "services", "student_worker", "teacher_server")
LOADS_CODE = {
    "eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.export.load", "torch.hub.load",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.loads", "dill.loads", "joblib.load", "marshal.loads",
    "shelve.open", "runpy.run_path", "runpy.run_module", "importlib.import_module", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "os.system", "os.popen", "subprocess.getoutput",
}  # fmt: skip
ALLOWED = {
    ("distill/science/models/plugin.py", "importlib.import_module"),  # after the operator's list was asked
    ("distill/science/export.py", "torch.export.load"),  # from memory, what was saved there a moment before
    ("services/cli/files.py", "yaml.load"),  # with a safe loader that knows lines
}


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    """What a module calls, by dotted name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def test_only_three_places_load_what_may_hold_code():
    found = {(str(file.relative_to(ROOT)), name) for file in sources() for name, _ in calls(file) if name in LOADS_CODE}
    assert found == ALLOWED


def test_nobody_is_told_to_unpickle_or_to_trust_code():
    told = [
        (file, keyword.arg)
        for file in sources()
        for _, call in calls(file)
        for keyword in call.keywords
        if keyword.arg in {"allow_pickle", "trust_remote_code", "shell"} and ast.unparse(keyword.value) != "False"
    ]
    assert told == []


def test_modules_of_pickles_are_imported_nowhere():
    unpicklers = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "runpy"}
    imported = {
        (file, alias.name)
        for file in sources()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in unpicklers
    }
    assert imported == set()


@pytest.mark.parametrize("path", [
    "this:s", "this.other:s", "os:system", "os.path:join", "collections:abc", "tests.hostile:reader",
    "tests.hostile.readers:READERS", "tests:hostile", "Tests.hostile.reader:weights", "tests.hostile.reader:weights_",
])  # fmt: skip
def test_nothing_beside_what_the_operator_lists_is_imported(path: str):
    spec = PluginModel.model_validate({"source": "plugin", "import": path})
    with pytest.raises(InvalidSpec, match="not on the list"):
        plugin.build(spec, input=INPUT, num_classes=2, allowed={"tests.hostile.reader:weights"})
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "path", ["os:path.join", "os:system.__call__", "os.:system", ".os:system", "os:", "os/x:y", "os:system\n"]
)
def test_a_path_that_is_more_than_a_name_in_a_module_is_no_import_path(path: str):
    with pytest.raises(ValueError, match=r"package\.module:name"):
        PluginModel.model_validate({"source": "plugin", "import": path})
