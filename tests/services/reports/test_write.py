"""Reports on storage: whole or not at all, from what the attempts left."""

import subprocess
import sys
from pathlib import Path

import pytest

from distill.contracts.errors import DependencyDown
from distill.contracts.records import JobState
from distill.contracts.report import Report
from services.reports.curves_plot import draw_curves
from services.reports.frontier_plots import draw_frontier
from services.reports.plots import draw_plots
from services.reports.write import write_job_report, write_study_report

from .examples import child, composed, job, predictions, result, study, three_members

FILES = ["curves.png", "curves.svg", "report.json", "report.md", "size.png", "size.svg"]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """With what a student and a baseline left."""
    ensemble = predictions((0, 1, 2, 3), ensemble=(0, 1, 2, 3))
    left = {"student": (result(0.874, ensemble=0.92, members=(0.9,) * 3), ensemble)}
    left["baseline"] = (result(0.79, role="baseline"), predictions((0, 1, 2, 0)))
    for role, (done, named) in left.items():
        folder = tmp_path / f"runs/fashion-{role}/1"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(done.model_dump_json())
        (folder / "predictions.json").write_text(named.model_dump_json())
    return tmp_path


JOBS = {"student": job(teachers=(three_members(),)), "baseline": job("baseline")}
STUDY = study("student", "baseline")


def test_a_study_leaves_its_report_as_data_as_text_and_as_plots(storage):
    folder = write_study_report(STUDY, JOBS, storage=storage)
    assert folder == "reports/study-fashion-study"
    assert sorted(path.name for path in (storage / folder).iterdir()) == FILES
    report = Report.model_validate_json((storage / folder / "report.json").read_text())
    assert report.headline in (storage / folder / "report.md").read_text()
    assert sorted((*report.plots, "report.json", "report.md")) == FILES


def test_a_report_is_written_once(storage):
    first = storage / write_study_report(STUDY, JOBS, storage=storage) / "report.json"
    before = first.read_bytes()
    write_study_report(STUDY, JOBS, storage=storage)
    assert first.read_bytes() == before
    assert [path.name for path in (storage / "reports").iterdir()] == ["study-fashion-study"]


def test_a_single_job_has_a_report_of_its_own(storage):
    folder = write_job_report(JOBS["baseline"], storage=storage)
    assert folder == "reports/job-fashion-baseline"
    report = Report.model_validate_json((storage / folder / "report.json").read_text())
    assert report.headline.startswith("Taught by 1,000 labels alone")


def test_a_sweep_is_drawn_against_parameters_operations_and_latency(tmp_path):
    sweep = composed(
        {
            child(role, point=point, seed=seed): reached + seed / 100
            for point, reached in (("w4", 0.86), ("w8", 0.80), ("w16", 0.91))
            for role in ("student", "baseline")
            for seed in (0, 1)
        }
    )
    kinds = ("curves", "frontier-parameters", "frontier-flops", "frontier-latency")
    assert draw_plots(sweep, tmp_path) == tuple(f"{kind}{suffix}" for kind in kinds for suffix in (".svg", ".png"))


def test_the_front_is_drawn_through_the_students_that_no_other_beats():
    accuracies = {child("student", point=point): a for point, a in (("w4", 0.86), ("w8", 0.80), ("w16", 0.91))}
    axes = draw_frontier(composed(accuracies), "parameters").axes[0]
    drawn = {artist.get_label(): artist.lines[0].get_xydata().tolist() for artist in axes.containers}
    assert drawn == {
        "student, on the front": [[4_000, 86.0], [16_000, 91.0]],
        "student, beaten": [[8_000, 80.0]],
    }


def test_a_curve_is_the_mean_of_its_seeds():
    axes = draw_curves(composed({child("student", seed=seed): 0.8 + seed / 10 for seed in (0, 1)})).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "student"]
    assert line.get_xydata().tolist()[-1] == pytest.approx(
        [400, 85.0 - 1.2]
    )  # both end 30 / 25 points below their accuracy


def test_a_failed_job_has_a_report_without_plots(tmp_path):
    folder = tmp_path / write_job_report(job(state=JobState.FAILED), storage=tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "report.md"]


def test_a_result_that_cannot_be_read_leaves_no_report(storage):
    (storage / "runs/fashion-baseline/1/result.json").write_text('{"job": "fashion-b')
    with pytest.raises(DependencyDown, match=r"fashion-baseline/1/result.json can't be read"):
        write_study_report(STUDY, JOBS, storage=storage)
    assert not (storage / "reports").exists()


def test_the_control_plane_imports_reports_without_matplotlib_or_numpy():
    program = (
        "import sys, services.reports.write; sys.exit(bool({'matplotlib', 'numpy', 'torch', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
