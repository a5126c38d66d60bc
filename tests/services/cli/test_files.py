"""Job files: the shipped ones are right, and a wrong one is told what is wrong, and on which line."""

from pathlib import Path

import pytest

from distill.contracts.errors import InvalidSpec
from services.cli.files import load_spec

EXAMPLES = Path(__file__).parents[3] / "examples"
GOOD = "name: digits\ndataset:\n  source: digits\nstudent: {source: zoo, name: mlp}\n"


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_every_shipped_file_is_right(file: Path):
    assert load_spec(file).name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "trainig: {}\n", ["line 5", "trainig", "no such key"]),
        (GOOD + "training: {epochs: many}\n", ["line 5", "training.epochs", "'many'"]),
        (GOOD + "training:\n  seed: 1\n  epochs: 0\n", ["line 7", "training.epochs", "greater than or equal to 1"]),
        (GOOD.replace("  source: digits", "  source: cifar"), ["line 3", "dataset", "cifar"]),
        (GOOD + "name: again\n", ["line 5", "'name' is given twice"]),
        (GOOD + "training: {epochs: 1\n", ["line 6, column 1", "not YAML"]),
        (GOOD + "training: {epochs: !!python/object:os.system x}\n", ["line 5", "not YAML"]),
        ("[1, 2]", ["list, not a job or a study"]),
        ("", ["NoneType, not a job or a study"]),
        ("name: a\njob: 3\n", ["line 2", "job"]),
        ("a: &a [*a]\n", ["name"]),
    ],
    ids=lambda value: None if isinstance(value, list) else "",
)
def test_a_wrong_file_is_told_where_and_what(tmp_path: Path, text: str, said: list[str]):
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(InvalidSpec) as caught:
        load_spec(file)
    assert [words for words in said if words not in str(caught.value)] == [], str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InvalidSpec, match=r"nothing\.yaml can't be read: No such file"):
        load_spec(tmp_path / "nothing.yaml")


def test_a_file_that_is_not_text_is_named(tmp_path: Path):
    file = tmp_path / "job.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSpec, match="not UTF-8"):
        load_spec(file)


def test_every_error_of_a_file_is_told_at_once(tmp_path: Path):
    file = tmp_path / "job.yaml"
    file.write_text(GOOD + "training: {epochs: 0, batch_size: 0}\n")
    with pytest.raises(InvalidSpec, match=r"(?s)training\.epochs.*training\.batch_size"):
        load_spec(file)
