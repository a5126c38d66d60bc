"""Reports on storage: reads what the attempts left, composes, and puts a whole folder in place at once."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import ValidationError

from distill.contracts.base import Stored, now
from distill.contracts.errors import DependencyDown
from distill.contracts.measures import AttemptResult, Predictions
from distill.contracts.names import report_folder
from distill.contracts.records import JobRecord, StudyRecord
from distill.contracts.report import Report
from services.reports.compose import compose_job, compose_study
from services.reports.markdown import render_markdown
from services.reports.plots import draw_plots

JSON_FILE = "report.json"
MARKDOWN_FILE = "report.md"

Contract = TypeVar("Contract", bound=Stored)


def write_study_report(study: StudyRecord, jobs: Mapping[str, JobRecord], *, storage: Path) -> str:
    """Write the report of a study whose children have all ended, unless it is there already.

    Blocks for a second or two (plots): call it in a thread.

    Args:
        study: the study.
        jobs: child -> its record.
        storage: the storage root.

    Returns:
        The report's folder, below the storage root: ``report.json``, ``report.md`` and plots.

    Raises:
        DependencyDown: a job that succeeded has no result that can be read.
    """

    def compose() -> Report:
        results = {child: _result_of(job, storage) for child, job in jobs.items() if job.result}
        predictions = {child: _predictions_of(result, storage) for child, result in results.items()}
        return compose_study(study, jobs, results, predictions, at=now())

    return _write_once(report_folder("study", study.id), compose, storage)


def write_job_report(job: JobRecord, *, storage: Path) -> str:
    """Write the report of one job that has ended, unless it is there already. All else as `write_study_report`."""

    def compose() -> Report:
        result = _result_of(job, storage) if job.result else None
        return compose_job(job, result, _predictions_of(result, storage) if result else None, at=now())

    return _write_once(report_folder("job", job.id), compose, storage)


def _result_of(job: JobRecord, storage: Path) -> AttemptResult:
    return _read(storage / str(job.result), AttemptResult)


def _predictions_of(result: AttemptResult, storage: Path) -> Predictions:
    return _read(storage / result.predictions, Predictions)


def _read(path: Path, contract: type[Contract]) -> Contract:
    try:
        return contract.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DependencyDown(
            f"{path} can't be read ({error}), and the report needs it: is the storage mounted here?"
        ) from error


def _write_once(folder: PurePosixPath, compose: Callable[[], Report], storage: Path) -> str:
    target = storage / folder
    if not target.is_dir():
        _put(compose(), target)
    return str(folder)


def _put(report: Report, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        report = report.model_copy(update={"plots": draw_plots(report, folder)})
        (folder / JSON_FILE).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / MARKDOWN_FILE).write_text(render_markdown(report), encoding="utf-8")
        for file in folder.iterdir():
            _sync(file)
        folder.chmod(0o755)
        _move(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    """Give ``folder`` its name; where another writer came first, theirs stays: it says the same."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
