"""Texts from files: what a tokenizer makes of them, what counts for the digest, and what is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from distill.contracts.datasets import DatasetSpec
from distill.contracts.errors import InvalidData
from distill.contracts.models import TokensInput
from distill.contracts.settings import NodeSettings
from distill.science.datasets import load

WORDS = ["[PAD]", "[UNK]", "[CLS]", "a", "fine", "dull", "film", "plot"]
ROWS = [("a fine film", 1), ("a dull plot", 0), ("fine", 1), ("a dull dull film", 0)]


@pytest.fixture
def tokenizer(settings: NodeSettings) -> Path:
    """A folder with a real tokenizer of eight words that begins every text with [CLS]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    model = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    model.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    folder = settings.data_root / "words"
    folder.mkdir()
    model.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    return folder


def write(settings: NodeSettings, content: str, name: str = "reviews.tsv") -> Path:
    file = settings.data_root / name
    file.write_text(content, encoding="utf-8")
    return file


def tsv(rows: list[tuple[str, Any]]) -> str:
    return "".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *rows])


def read(settings: NodeSettings, **changes: Any):
    fields = {"source": "text", "train": "reviews.tsv", "test": "reviews.tsv", "tokenizer": "words", "length": 5}
    return load(TypeAdapter(DatasetSpec).validate_python(fields | changes), settings)


def test_texts_become_padded_and_cut_token_ids(settings, tokenizer):
    write(settings, tsv(ROWS))

    data = read(settings)
    short = read(settings, length=3)

    assert data.inputs.tolist() == [[2, 3, 4, 6, 0], [2, 3, 5, 7, 0], [2, 4, 0, 0, 0], [2, 3, 5, 5, 6]]
    assert short.inputs.tolist() == [[2, 3, 4], [2, 3, 5], [2, 4, 0], [2, 3, 5]]
    assert data.labels.tolist() == [1, 0, 1, 0]


def test_the_vocabulary_and_padding_are_the_tokenizers_whatever_the_rows_use(settings, tokenizer):
    write(settings, tsv([("a a", 0), ("a", 1), ("a", 1)]))

    came = read(settings).input
    digest = hashlib.sha256((tokenizer / "tokenizer.json").read_bytes()).hexdigest()

    assert came == TokensInput(length=5, vocabulary=8, pad_id=0, tokenizer=f"sha256:{digest}")


def test_csv_and_json_lines_hold_the_same_data_set(settings, tokenizer):
    quoted = [('a "fine", film', 1), ("a dull\nplot", 0), ("fine", 1)]
    rows = [{"text": text, "label": label} for text, label in quoted]
    write(settings, "label,text\n" + "".join('{},"{}"\n'.format(n, t.replace('"', '""')) for t, n in quoted), "a.csv")
    write(settings, "\n".join(json.dumps(row) for row in rows), "a.jsonl")

    one, other = (read(settings, train=name, test=name) for name in ("a.csv", "a.jsonl"))

    assert torch.equal(one.inputs, other.inputs)
    assert one.facts.digest == other.facts.digest


def test_labels_may_be_names_of_classes_or_missing(settings, tokenizer):
    write(settings, tsv([("fine", "good"), ("dull", "bad"), ("plot", ""), ("film", -1)]))
    write(settings, tsv([("fine", "good")]), "test.tsv")

    data = read(settings, test="test.tsv", classes=["bad", "good"])

    assert data.labels.tolist() == [1, 0, -1, -1]
    assert data.facts.classes == ("bad", "good")


def test_a_file_without_the_column_of_labels_is_a_transfer_set(settings, tokenizer):
    write(settings, "text\na fine film\na plot\na film\n", "unlabelled.tsv")
    write(settings, tsv(ROWS))

    data = read(settings, train="unlabelled.tsv", test="reviews.tsv")

    assert (data.facts.num_train, data.facts.num_labelled) == (2, 0)


def test_the_digest_covers_text_labels_and_tokenizer(settings, tokenizer):
    write(settings, tsv(ROWS))
    digests = {read(settings).facts.digest}
    assert {read(settings).facts.digest} == digests

    # a word that the tokenizer doesn't know for another: the token ids stay
    write(settings, tsv([("a nice film", 1), *ROWS[1:]]))
    digests.add(read(settings).facts.digest)
    write(settings, tsv([("a lovely film", 1), *ROWS[1:]]))
    digests.add(read(settings).facts.digest)
    write(settings, tsv([("a lovely film", 0), *ROWS[1:]]))
    digests.add(read(settings).facts.digest)
    content = (tokenizer / "tokenizer.json").read_text()
    (tokenizer / "tokenizer.json").write_text(content.replace('"plot"', '"story"'))
    digests.add(read(settings).facts.digest)

    assert len(digests) == 5


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("", "has no rows"), ("text\tlabel\n", "has no rows"), ("sentence\tlabel\na\t1\n", "row 1 has no column 'text'"),
     ("text\tlabel\na\t1\nb\n", "row 2 has more or fewer cells"), ("text\tlabel\na\tb\tc\n", "row 1 has more or fewer"),
     ("text\tlabel\na\tgood\n", "the label is no class"), ("text\tlabel\na\t1.5\n", "the label is no class")],
)  # fmt: skip
def test_a_file_that_is_not_what_it_should_be_is_refused(settings, tokenizer, content, complaint):
    write(settings, content)

    with pytest.raises(InvalidData, match=complaint) as refused:
        read(settings)

    assert refused.value.details["field"] == "dataset.train"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [("a.jsonl", '{"text": "a"', "torn"), ("a.jsonl", "[1]", "no JSON object"),
     ("a.jsonl", '{"text": 3, "label": 0}', "no text"), ("a.csv", 'text,label\n"a,1\n', "torn"),
     ("a.txt", "a fine film", "no known ending")],
)  # fmt: skip
def test_a_torn_file_is_refused(settings, tokenizer, name, content, complaint):
    write(settings, content, name)

    with pytest.raises(InvalidData, match=complaint):
        read(settings, train=name)


def test_a_named_label_column_must_be_there(settings, tokenizer):
    write(settings, tsv(ROWS))

    with pytest.raises(InvalidData, match="no column 'stars'"):
        read(settings, label_column="stars")


def test_a_text_without_a_token_is_refused(settings, tokenizer):
    content = json.loads((tokenizer / "tokenizer.json").read_text())
    (tokenizer / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    write(settings, tsv([ROWS[0], ("  ", 0)]))

    with pytest.raises(InvalidData, match="row 2 has no token"):
        read(settings)


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [("tokenizer.json", "{torn", "can't be used"), ("tokenizer_config.json", "[1]", "is torn"),
     ("tokenizer_config.json", "{}", "no padding token"),
     ("tokenizer_config.json", '{"pad_token": "<pad>"}', "no token of its vocabulary")],
)  # fmt: skip
def test_a_tokenizer_that_can_not_be_used_is_refused(settings, tokenizer, file, content, complaint):
    write(settings, tsv(ROWS))
    (tokenizer / file).write_text(content)

    with pytest.raises(InvalidData, match=complaint) as refused:
        read(settings)

    assert refused.value.details["field"] == "dataset.tokenizer"


def test_a_length_without_room_for_a_word_is_refused(settings, tokenizer):
    write(settings, tsv(ROWS))

    with pytest.raises(InvalidData, match="adds 1 tokens to every text"):
        read(settings, length=1)


def test_a_folder_without_a_tokenizer_is_refused(settings, tokenizer):
    (tokenizer / "tokenizer.json").unlink()
    write(settings, tsv(ROWS))

    with pytest.raises(InvalidData, match=r"has no tokenizer\.json"):
        read(settings)


def test_a_tokenizer_outside_of_the_data_root_is_refused(settings, tokenizer):
    write(settings, tsv(ROWS))

    with pytest.raises(InvalidData, match="leads out of the data root"):
        read(settings, tokenizer="../words")
