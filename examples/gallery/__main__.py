"""``python -m examples.gallery [FILE ...]``: train every example over its seeds, in this process, and write a table of them.

What was trained before, with the same job, teachers and code, is not trained again: an interrupted gallery goes on.
Results and students lie in the folder ``gallery`` of STILLHOUSE_HOME. Named files are printed, the whole gallery is
written to docs/examples.md.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from distill.contracts.datasets import NoLabels
from distill.contracts.errors import InvalidData
from distill.contracts.settings import NodeSettings
from distill.contracts.study import StudySpec
from examples.gallery.page import COMPARED, page, write
from examples.gallery.rows import Row, rows_of
from examples.gallery.runs import ROOT, Result, Runs
from services.cli.files import load_spec
from services.stack.settings import StackSettings

FILES = ROOT / "examples" / "knowledge"
PAGE = ROOT / "docs" / "examples.md"
SEEDS = (0, 1, 2)
MORE_SEEDS = (0, 1, 2, 3, 4)
"""Of the ways to learn from one ensemble: they lie close together."""


def main() -> None:
    """Train, and write or print."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.gallery", description="Train every example; write a table."
    )
    parser.add_argument("files", nargs="*", type=Path, help="left out: all of examples/knowledge, to docs/examples.md")
    asked = parser.parse_args().files
    torch.set_num_threads(1)
    rows, skipped = gallery(asked or shipped(), Runs(node_settings()))
    if asked:
        print(page(rows, skipped, command=" ".join(["python -m examples.gallery", *map(str, asked)])))
    else:
        write(page(rows, skipped, command="make examples"), PAGE)
        print(f"written to {PAGE.relative_to(ROOT)}")


def shipped() -> list[Path]:
    """The example files, family by family; those in ``teachers`` say how teachers are made."""
    return [file for file in sorted(FILES.glob("*/*.yaml")) if file.parent.name != "teachers"]


def gallery(files: Sequence[Path], runs: Runs) -> tuple[list[Row], list[str]]:
    """The rows of all files whose data is there, and why the others were skipped."""
    rows: list[Row] = []
    skipped: list[str] = []
    studies = {file.resolve(): study_of(file) for file in files}
    progress = _Progress(sum(len(study.children()) for study in studies.values()), runs)
    for file, study in studies.items():
        try:
            rows += rows_of(file, study, dict(_results(file, study, runs, progress)))
        except InvalidData as error:
            skipped.append(f"{file.parent.name}/{file.stem}: {error.message}")
            progress.skips(len(study.children()), skipped[-1])
    return rows, skipped


def study_of(file: Path) -> StudySpec:
    """A study as its file has it; a job over the gallery's seeds, beside its baseline where it has labels.

    Raises:
        InvalidSpec: the file is neither.
    """
    spec = load_spec(file)
    if isinstance(spec, StudySpec):
        return spec
    has_labels = not isinstance(spec.dataset.labels, NoLabels)
    seeds = MORE_SEEDS if file.parent.name == "ensembles" and file.stem in COMPARED else SEEDS
    return StudySpec(name=spec.name, job=spec, baseline=has_labels, seeds=seeds)


def node_settings() -> NodeSettings:
    """This machine's folders, and one of the gallery's own for storage. Redis is never asked."""
    stack = StackSettings.from_environment()
    return NodeSettings(
        redis_url="redis://",
        storage=stack.home / "gallery",
        data_root=stack.data_root or stack.home / "data",
        cache=stack.cache or stack.home / "cache",
        fashion_mnist=stack.fashion_mnist,
        plugins=stack.plugins,
    )


def _results(file: Path, study: StudySpec, runs: Runs, progress: "_Progress") -> Iterator[tuple[str, Result]]:
    for key, child in study.children().items():
        result = runs.child(study, child)
        progress.shows(f"{file.parent.name}/{file.stem} {key}: {100 * result.accuracy:.1f} %")
        yield key, result


class _Progress:
    """Says after each job how many there are left, how fast they go, and when all will be done."""

    def __init__(self, num_jobs: int, runs: Runs) -> None:
        self._num_jobs = num_jobs
        self._num_done = 0
        self._runs = runs
        self._began = time.monotonic()

    def shows(self, text: str) -> None:
        """One job is done."""
        self._num_done += 1
        seconds = time.monotonic() - self._began
        left_min = (self._num_jobs - self._num_done) * seconds / self._num_done / 60
        rate = 60 * self._num_done / max(seconds, 1e-9)
        self._say(f"{text}; {rate:.0f} a minute, {self._runs.num_trained} trained anew, about {left_min:.0f} min left")

    def skips(self, num_jobs: int, reason: str) -> None:
        """An example can't be trained here."""
        self._num_jobs -= num_jobs
        self._say(f"skipped {reason}")

    def _say(self, text: str) -> None:
        print(f"{self._num_done:4d} of {self._num_jobs}  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
