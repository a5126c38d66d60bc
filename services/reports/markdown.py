"""A report as Markdown: what an engineer pastes into a review."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from distill.contracts.report import Report, ReportJob
from services.reports.headline import job_name
from services.reports.model_tables import (
    comparisons_table,
    learned_from_table,
    nearness_words,
    quality_table,
    size_table,
)
from services.reports.settings_words import settings_list
from services.reports.study_tables import epochs_table, frontier_words, generations_table, runs_table
from services.reports.tables import NOTHING, cell, folded, section, table
from services.reports.words import count, quantity, seconds

MOST_COLUMNS = 4
"""Jobs beside each other; of more each has a row."""
_PLOTS = {
    "curves": "Validation accuracy by step",
    "size": "Test accuracy against size",
    "frontier-parameters": "Test accuracy against parameters",
    "frontier-flops": "Test accuracy against FLOPs",
    "frontier-latency": "Test accuracy against latency",
}


def render_markdown(report: Report) -> str:
    """The whole report, headline first."""
    sections = [
        f"# {report.name}",
        f"**{cell(report.headline)}**",
        f"{report.kind} `{report.id}` of team {report.team}, reported {report.created_at:%Y-%m-%d %H:%M %Z}",
        section("Models", quality_table(report), size_table(report)),
        section("Which size", frontier_words(report)),
        section("Generations", generations_table(report)),
        section("The student beside", comparisons_table(report)),
        section("Nearer to the ensemble, or to the baseline", nearness_words(report)),
        section("The last epoch, and the best on validation rows", epochs_table(report.jobs)),
        section("What each model learned from", learned_from_table(report)),
        section("Plots", _plots(report.plots)),
        section("Where the time went", _times(report.jobs)),
        section("How they were trained", settings_list(report.jobs)),
        section("Before you trust a figure", "\n".join(f"- {cell(caveat)}" for caveat in report.caveats)),
        section("How to load the student", _loading(report)),
        _versions(report.jobs),
    ]
    return "\n\n".join(text for text in sections if text) + "\n"


def _plots(names: Sequence[str]) -> str:
    images = [PurePosixPath(name) for name in names if name.endswith(".png")]
    return "\n\n".join(f"![{_PLOTS.get(image.stem, image.stem)}]({image})" for image in images)


def _times(jobs: Sequence[ReportJob]) -> str:
    if len(jobs) > MOST_COLUMNS:
        num_rows = sum(job.teacher_rows for job in jobs)
        asked = f"All together asked teachers for {count(num_rows, 'row')}." if num_rows else ""
        longest = max(job.stations[-1].at_s for job in jobs)
        said = f"{count(len(jobs), 'job')}, the longest in {seconds(longest)} from its submission to its end. {asked}".rstrip()
        return f"{said}\n\n{folded('Every job', runs_table(jobs))}"
    names = list(dict.fromkeys(station.name for job in jobs for station in job.stations if station.name != "submitted"))
    if not names:
        return ""
    after = [{station.name: station.after_s for station in job.stations} for job in jobs]
    rows = [[f"→ {name}", *(seconds(times[name]) if name in times else NOTHING for times in after)] for name in names]
    rows.append(["**in all**", *(f"**{seconds(job.stations[-1].at_s)}**" for job in jobs)])
    columns = table(["since the station before", *(f"{job.role} `{job.id}`" for job in jobs)], rows)
    return "\n\n".join([columns, *(_asked(job) for job in jobs if job.teacher_rows)])


def _asked(job: ReportJob) -> str:
    waited = f"it stood still for {seconds(job.teacher_wait_s)}" if job.teacher_wait_s else "it never stood still"
    known = f", {count(job.teacher_rows_recalled)} of them known already" if job.teacher_rows_recalled else ""
    return (
        f"The {job_name(job)} asked teachers for {count(job.teacher_rows, 'row')}{known}; {waited} for want of answers."
    )


def _loading(report: Report) -> str:
    student = _student_to_load(report)
    if student is None:
        return ""
    files = ", ".join(f"`{a.name}` ({quantity(a.size_bytes)}B)" for a in student.artifacts)
    fetch = f"`stillhouse download {student.id}` fetches {files}."
    program = next((a.name for a in student.artifacts if PurePosixPath(a.name).suffix == ".pt2"), None)
    if program is None:
        return fetch
    code = (
        "```python\n"
        "import torch\n\n"
        f'student = torch.export.load("{PurePosixPath(program).name}").module()\n'
        "logits = student(inputs)  # inputs as the data set holds them: the program normalises\n"
        "```"
    )
    return f"{fetch} Plain torch is enough to run it:\n\n{code}"


def _student_to_load(report: Report) -> ReportJob | None:
    """Of the last generation; of a sweep the smallest that is near enough to the ensemble, or else the first."""
    left = [job for job in report.jobs if job.artifacts]
    students = [job for job in left if job.role == "student"] or left
    wanted = report.frontier.smallest if report.frontier else None
    of_size = [job for job in students if job.point == wanted] or students
    return max(of_size, key=lambda job: job.generation or 0, default=None)


def _versions(jobs: Sequence[ReportJob]) -> str:
    versions = {name: version for job in jobs for name, version in job.versions.items()}
    return "Made with " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "." if versions else ""
