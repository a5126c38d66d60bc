"""Texts and their labels from CSV, TSV or JSON-lines files, as the token ids of a tokenizer.

Shapes: N rows, L tokens.
"""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distill.contracts.datasets import TextData
from distill.science.datasets.paths import inside_root
from distill.science.datasets.raw import Raw, Split, check_fits, checked_split, invalid, numbered_classes
from distill.science.datasets.splits import read_splits
from distill.science.datasets.tokenizer import TOKENIZER_FILE, Tokenizer, read_tokenizer

MOST_DIGITS = 19
"""Of a class number: an int64 holds as many."""
ENDINGS = (".csv", ".tsv", ".jsonl")


def load_text(spec: TextData, root: Path, *, most_bytes: int) -> Raw:
    """The splits of one or two files below ``root``, every text as L token ids; ``most_bytes`` of them in a split.

    Files are UTF-8. CSV and TSV files have a header; TSV knows no quotes. Every line of a JSON-lines file is an object.

    Raises:
        InvalidData: a path leads out of the root, a file is torn, a column is missing, a label is no class, a text has no
            token, or the tokenizer can't be read.
    """
    folder = inside_root(root, spec.tokenizer, field="dataset.tokenizer")
    tokenizer = read_tokenizer(folder, length=spec.length)
    origin = hashlib.sha256(tokenizer.input.model_dump_json().encode())

    def split(file: Path, field: str) -> Split:
        found = _read(spec, file, field)
        check_fits(8 * len(found.texts) * spec.length, most_bytes, field=field, what="all texts as token ids")
        if field == "dataset.train":
            _remember(origin, found.texts)
        return _tokenized(found, tokenizer, field)

    train, test, files = read_splits(spec, root, split, most_bytes=most_bytes)
    return Raw(
        train=train,
        test=test,
        classes=numbered_classes(spec.classes, train, test),
        files=(*files, folder / TOKENIZER_FILE),
        reading=f"text {spec.text_column} {spec.label_column} {spec.length} {spec.classes}",
        tokens=tokenizer.input,
        origin=origin.hexdigest(),
    )


@dataclass(frozen=True)
class _Texts:
    texts: list[str]
    labels: list[int]
    """Class numbers, -1 where a row has none."""


def _read(spec: TextData, file: Path, field: str) -> _Texts:
    found = _Texts([], [])
    for number, row in enumerate(_rows(file, field), start=1):
        text = _cell(row, spec.text_column, number, field)
        if not isinstance(text, str):
            raise invalid(
                field, f"row {number}: '{spec.text_column}' is no text", expected="a text", got=repr(text)[:60]
            )
        # 'label' may be missing unless the job file itself says that name
        has_label = "label_column" in spec.model_fields_set or spec.label_column in row
        label = _cell(row, spec.label_column, number, field) if has_label else None
        found.texts.append(text)
        found.labels.append(_class_number(label, spec.classes, number, field))
    if not found.texts:
        raise invalid(field, f"'{file.name}' has no rows", expected="at least one row", got="none")
    return found


def _rows(file: Path, field: str) -> Iterator[dict[str, Any]]:
    if file.suffix not in ENDINGS:
        raise invalid(
            field, f"'{file.name}' has no known ending", expected=", ".join(ENDINGS), got=file.suffix or "none"
        )
    try:
        # newline="": the csv module reads line ends itself, and those within quotes belong to the text
        with file.open(encoding="utf-8-sig", newline="") as lines:
            if file.suffix == ".jsonl":
                yield from (_object(line, field) for line in lines if line.strip())
            elif file.suffix == ".csv":
                yield from _whole(csv.DictReader(lines, strict=True), field)
            else:
                yield from _whole(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), field)
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError, RecursionError) as error:
        raise invalid(field, f"'{file.name}' is torn, or not a UTF-8 {file.suffix} file ({error})") from error


def _whole(rows: "csv.DictReader[str]", field: str) -> Iterator[dict[str, Any]]:
    """Refuse a row of more or fewer cells than the header, which the csv module fills up with None."""
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise invalid(
                field, f"row {number} has more or fewer cells than the header", expected=f"{len(rows.fieldnames or ())}"
            )
        yield row


def _object(line: str, field: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise invalid(field, f"a line is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise invalid(field, "a line is no JSON object", expected='such as {"text": "...", "label": 0}', got=line[:60])
    return value


def _cell(row: dict[str, Any], column: str, number: int, field: str) -> Any:
    if column not in row:
        there = ", ".join(str(name) for name in row if name is not None)
        raise invalid(field, f"row {number} has no column '{column}'", expected=column, got=there or "no columns")
    return row[column]


def _class_number(label: Any, classes: tuple[str, ...] | None, row: int, field: str) -> int:
    said = "" if label is None else str(label).strip()
    if classes is not None and said in classes:
        return classes.index(said)
    if said in {"", "-1"}:
        return -1
    # not int(): "1_0" is no number that anyone means, and True is none either
    if classes is None and said.isdecimal() and said.isascii() and len(said) < MOST_DIGITS:
        return int(said)
    expected = ", ".join(classes) if classes else "a class number, 0 or more, or names in dataset.classes"
    raise invalid(field, f"row {row}: the label is no class", expected=expected[:300], got=repr(label)[:60])


def _tokenized(found: _Texts, tokenizer: Tokenizer, field: str) -> Split:
    ids_NL = torch.tensor(tokenizer.encode(found.texts))
    if len(empty := (ids_NL == tokenizer.input.pad_id).all(dim=1).nonzero()):
        raise invalid(
            field, f"the text of row {1 + int(empty[0])} has no token", expected="at least one", got="only padding"
        )
    return checked_split(ids_NL, torch.tensor(found.labels), field=field)


def _remember(origin: "hashlib._Hash", texts: Sequence[str]) -> None:
    for text in texts:
        origin.update(f"{len(text)} {text}\n".encode())
