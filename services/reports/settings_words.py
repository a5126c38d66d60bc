"""How the models were trained, in words: a line for all jobs that were trained alike."""

from collections.abc import Iterator, Sequence

from distill.contracts.report import ReportJob
from distill.contracts.words import ensemble_in_words, scheme_in_words, term_in_words
from services.reports.words import count, listing, numbers


def settings_list(jobs: Sequence[ReportJob]) -> str:
    """A list; jobs that differ by size, seed and the student before them alone share an entry."""
    alike: dict[tuple[str, str], list[ReportJob]] = {}
    for job in jobs:
        alike.setdefault((job.role, "; ".join(_settings(job, seeds=()))), []).append(job)
    return "\n".join(f"- {_names(role, same)}: {_shared(same)}" for (role, _), same in alike.items())


def _names(role: str, jobs: Sequence[ReportJob]) -> str:
    points = [point for point in dict.fromkeys(job.point for job in jobs) if point is not None]
    generations = {job.generation for job in jobs if job.generation is not None}
    said = [listing(points), numbers(generations, "generation") if generations else ""]
    return ", ".join([role, *(text for text in said if text)])


def _shared(jobs: Sequence[ReportJob]) -> str:
    return "; ".join(_settings(jobs[0], seeds=[job.spec.training.seed for job in jobs]))


def _settings(job: ReportJob, *, seeds: Sequence[int]) -> Iterator[str]:
    spec, training = job.spec, job.spec.training
    yield " + ".join(term_in_words(term) for term in spec.objective)
    if spec.teachers:
        yield f"answers of {_teachers(job)} in {spec.answers.precision}, {ensemble_in_words(spec.ensemble)}"
    if scheme := scheme_in_words(spec.scheme):
        yield scheme
    optimizer = training.optimizer.model_dump()
    clip = f", gradient norm at most {training.gradient_clip:g}" if training.gradient_clip is not None else ""
    yield f"{optimizer.pop('kind')} ({', '.join(f'{name} {value}' for name, value in optimizer.items())}){clip}"
    yield f"{training.schedule.kind} schedule, {count(training.schedule.warmup_steps, 'warm-up step')}"
    yield (
        f"{count(training.epochs, 'epoch')}, batch {count(training.batch_size)}, "
        f"{numbers(seeds, 'seed') if seeds else ''}, {training.precision}, {count(spec.compute.workers, 'worker')}"
    )
    if spec.evaluation.select == "best":
        yield "the best epoch on validation rows is handed over"
    if spec.evaluation.patience is not None:
        yield f"stops after {count(spec.evaluation.patience, 'measurement')} in a row without a higher validation accuracy"
    yield f"augmentation {spec.dataset.augmentation.policy}"


def _teachers(job: ReportJob) -> str:
    if job.generation is not None and job.generation > 1:
        return "the generation before"
    return ", ".join(use.name for use in job.spec.teachers)
