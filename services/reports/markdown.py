"""A report as Markdown: what an engineer pastes into a review."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from distill.contracts.report import LearnedFrom, Report, ReportJob, ReportModel
from distill.contracts.words import term_in_words
from services.reports.words import count, factor, percent, points, quantity, seconds

_NOTHING = "-"
_VERDICTS = {"better": "better", "within_noise": "within the noise", "worse": "worse"}
_PLOTS = {"curves": "Validation accuracy by step", "size": "Test accuracy against size"}


def render_markdown(report: Report) -> str:
    """The whole report, headline first."""
    sections = [
        f"# {report.name}",
        f"**{_cell(report.headline)}**",
        f"{report.kind} `{report.id}` of team {report.team}, reported {report.created_at:%Y-%m-%d %H:%M %Z}",
        _section("Models", _models(report)),
        _section("The student beside", _comparisons(report)),
        _section("What each model learned from", _learned_from(report)),
        _section("Plots", _plots(report.plots)),
        _section("Where the time went", _times(report.jobs)),
        _section("How they were trained", _settings(report.jobs)),
        _section("Before you trust a figure", "\n".join(f"- {_cell(caveat)}" for caveat in report.caveats)),
        _section("How to load the student", _loading(report)),
        _versions(report.jobs),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _models(report: Report) -> str:
    measured = next((model.quality for model in report.models if model.quality), None)
    head = [
        "model",
        "",
        "accuracy",
        "NLL",
        "ECE",
        "agrees",
        "parameters",
        "file",
        "FLOPs",
        "ms, batch 1",
        "ms, batch 64",
    ]
    table = _table(head, (_model_row(model) for model in report.models))
    if measured is None:
        return table
    legend = (
        f"Accuracy, negative log-likelihood (nats) and expected calibration error on {count(measured.num_rows)} test rows "
        "that no choice was made on. Agrees: names the same class as the ensemble. "
        "FLOPs and milliseconds are of one forward pass, FLOPs of one row."
    )
    return f"{table}\n\n{legend}"


def _model_row(model: ReportModel) -> list[str]:
    quality, size = model.quality, model.size
    return [
        f"**{model.role}** {model.name}" if model.role == "student" else f"{model.role} {model.name}",
        model.architecture,
        percent(quality.accuracy) if quality else _NOTHING,
        f"{quality.nll:.3f}" if quality else _NOTHING,
        f"{quality.calibration_error:.3f}" if quality else _NOTHING,
        percent(model.agreement) if model.agreement is not None else _NOTHING,
        quantity(size.parameters) if size else _NOTHING,
        f"{quantity(size.bytes)}B" if size else _NOTHING,
        quantity(size.flops) if size else _NOTHING,
        *(f"{size.latency_ms[batch]:.2f}" if size and batch in size.latency_ms else _NOTHING for batch in (1, 64)),
    ]


def _comparisons(report: Report) -> str:
    rows = [
        [
            f"{c.role} {c.name}",
            f"{'+' if c.accuracy_gain > 0 else '-' if c.accuracy_gain < 0 else ''}{points(c.accuracy_gain)}",
            f"±{points(c.noise)}",
            _VERDICTS[c.verdict],
            percent(c.retention) if c.retention is not None else _NOTHING,
            f"{factor(c.size_reduction)}x",
            ", ".join(f"{factor(ratio)}x (batch {batch})" for batch, ratio in sorted(c.speed_up.items())) or _NOTHING,
        ]
        for c in report.comparisons
    ]
    return _table(["", "difference", "noise", "verdict", "accuracy kept", "smaller", "faster"], rows)


def _learned_from(report: Report) -> str:
    rows = [_learned_from_row(m, m.learned_from) for m in report.models if m.role != "ensemble"]
    head = ["model", "rows", "labels", "of", "rows in both ranges", "steps", "training time"]
    return _table(head, rows)


def _learned_from_row(model: ReportModel, facts: LearnedFrom | None) -> list[str]:
    name = f"{model.role} {model.name}"
    if facts is None:
        return [name, "not known", *[_NOTHING] * 5]
    overlap = "not known" if facts.overlap_rows is None else count(facts.overlap_rows)
    return [
        name,
        count(facts.num_rows),
        count(facts.num_labels),
        f"{facts.dataset} [{count(facts.rows_start)}, {count(facts.rows_stop)})",
        _NOTHING if model.role == "student" else overlap,
        count(facts.steps) if facts.steps is not None else _NOTHING,
        seconds(facts.seconds) if facts.seconds is not None else _NOTHING,
    ]


def _plots(names: Sequence[str]) -> str:
    images = [PurePosixPath(name) for name in names if name.endswith(".png")]
    return "\n\n".join(f"![{_PLOTS.get(image.stem, image.stem)}]({image})" for image in images)


def _times(jobs: Sequence[ReportJob]) -> str:
    names = list(dict.fromkeys(station.name for job in jobs for station in job.stations if station.name != "submitted"))
    if not names:
        return ""
    after = [{station.name: station.after_s for station in job.stations} for job in jobs]
    rows = [[f"→ {name}", *(seconds(times[name]) if name in times else _NOTHING for times in after)] for name in names]
    rows.append(["**in all**", *(f"**{seconds(job.stations[-1].at_s)}**" for job in jobs)])
    table = _table(["since the station before", *(f"{job.role} `{job.id}`" for job in jobs)], rows)
    asked = [_asked(job) for job in jobs if job.teacher_rows]
    return "\n\n".join([table, *asked])


def _asked(job: ReportJob) -> str:
    waited = f"it stood still for {seconds(job.teacher_wait_s)}" if job.teacher_wait_s else "it never stood still"
    return f"The {job.role} asked teachers for {count(job.teacher_rows, 'row')}; {waited} for want of answers."


def _settings(jobs: Sequence[ReportJob]) -> str:
    return "\n".join(f"- {job.role}: {'; '.join(_job_settings(job))}" for job in jobs)


def _job_settings(job: ReportJob) -> Iterator[str]:
    spec = job.spec
    yield " + ".join(term_in_words(term) for term in spec.objective)
    if spec.teachers:
        yield f"answers of {', '.join(use.name for use in spec.teachers)} combined by {spec.ensemble.combine}"
    optimizer = spec.training.optimizer.model_dump()
    yield f"{optimizer.pop('kind')} ({', '.join(f'{name} {value}' for name, value in optimizer.items())})"
    yield f"{spec.training.schedule.kind} schedule, {count(spec.training.schedule.warmup_steps, 'warm-up step')}"
    yield (
        f"{count(spec.training.epochs, 'epoch')}, batch {count(spec.training.batch_size)}, seed {spec.training.seed}, "
        f"{spec.training.precision}, {count(spec.compute.workers, 'worker')}"
    )
    yield f"augmentation {spec.dataset.augmentation.policy}"


def _loading(report: Report) -> str:
    student = next((job for job in report.jobs if job.artifacts), None)
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


def _versions(jobs: Sequence[ReportJob]) -> str:
    versions = {name: version for job in jobs for name, version in job.versions.items()}
    return "Made with " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "." if versions else ""


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(row) for row in rows]
    if not lines:
        return ""
    bar = ["---"] * len(head)
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in (head, bar, *lines))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
