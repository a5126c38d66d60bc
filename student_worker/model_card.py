"""The model card: what a student is, what it learned from, what it is worth, and how to load it without Stillhouse."""

from distill.contracts.measures import AttemptResult, Quality
from distill.contracts.records import JobRecord
from distill.contracts.words import ensemble_in_words, scheme_in_words, term_in_words

CARD = """\
# {name}

{architecture}, {parameters:,} parameters, {megabytes:.2f} MB of weights, {flops:,} floating-point operations a row.
It takes {input}, normalises them itself, and gives logits for {num_classes} classes: {classes}.

## What it learned from

- Data: {source}, rows {start} to {stop} of the training split (digest `{digest}`).
- Trained on {num_train:,} rows, of which {num_labelled:,} with their true label; {num_validation:,} rows were held back.
- Teachers: {teachers}.
- Objective: {objective}.
- {steps:,} steps of {batch_size} rows; seed {seed}; job `{job}`, attempt {attempt}.
{selection}
## What it is worth

On {num_test:,} test rows that were never used for a choice:

| model | accuracy | negative log-likelihood | calibration error |
|---|---|---|---|
{qualities}
{agreement}
## How to load it

```python
import torch

student = torch.export.load("student.pt2").module()
logits = student(inputs)  # {input}
```

`model.safetensors` and `model.json` hold the same student as weights and architecture.
"""


def write_card(record: JobRecord, result: AttemptResult, input_words: str) -> str:
    """The card as Markdown."""
    data, training = result.dataset, record.spec.training
    return CARD.format(
        name=record.spec.name,
        architecture=_architecture(record),
        parameters=result.size.parameters,
        megabytes=result.size.bytes / 1e6,
        flops=result.size.flops,
        input=input_words,
        num_classes=len(data.classes),
        classes=", ".join(data.classes),
        source=data.source,
        start=data.rows_start,
        stop=data.rows_stop,
        digest=data.digest,
        num_train=data.num_labelled if record.spec.learns_from_labels_alone else data.num_train,
        num_labelled=data.num_labelled,
        num_validation=data.num_validation,
        teachers=_teachers(record),
        objective=_objective(record),
        steps=result.steps,
        batch_size=training.batch_size,
        seed=training.seed,
        selection=_selection(record, result),
        job=result.job,
        attempt=result.attempt,
        num_test=result.quality.num_rows,
        qualities="\n".join(_rows(result)),
        agreement=_agreement(result),
    )


def _architecture(record: JobRecord) -> str:
    student = record.spec.student
    if student.source == "plugin":
        return f"{student.import_path}, of a package outside of Stillhouse,"
    return student.name if student.source == "zoo" else f"{student.model_type} of the transformers library"


def _teachers(record: JobRecord) -> str:
    if not record.teachers:
        return scheme_in_words(record.spec.scheme) or "none; true labels alone"
    served = ", ".join(
        f"{teacher.reference} ({len(teacher.manifest.members)} members, weight {teacher.weight:g})"
        for teacher in record.teachers
    )
    others = [ensemble_in_words(record.spec.ensemble), scheme_in_words(record.spec.scheme)]
    return "; ".join([served, *(words for words in others if words)])


def _objective(record: JobRecord) -> str:
    return " + ".join(term_in_words(term) for term in record.spec.objective)


def _selection(record: JobRecord, result: AttemptResult) -> str:
    """What validation rows decided, as lines of the list; nothing where they decide nothing."""
    epochs, ended = record.spec.training.epochs, result.curve[-1].epoch
    said = []
    if ended < epochs:
        said.append(f"- Stopped early after epoch {ended} of {epochs}, as validation accuracy rose no further.\n")
    if result.selected is not None and result.last is not None:
        said.append(
            f"- These are the weights of epoch {result.selected.epoch} of {ended}, the best on validation rows; those of "
            f"the last epoch reach an accuracy of {result.last.accuracy:.4f} on the test rows.\n"
        )
    return "".join(said)


def _rows(result: AttemptResult) -> list[str]:
    rows = [_row("this student", result.quality)]
    if result.ensemble is not None:
        rows.append(_row("its teachers, combined", result.ensemble))
    for teacher in result.teachers:
        rows += [_row(f"{teacher.teacher}, member {place}", member) for place, member in enumerate(teacher.members)]
    return rows


def _row(name: str, quality: Quality) -> str:
    return f"| {name} | {quality.accuracy:.4f} | {quality.nll:.4f} | {quality.calibration_error:.4f} |"


def _agreement(result: AttemptResult) -> str:
    if result.agreement is None:
        return ""
    return f"\nIt names the same class as its teachers on {result.agreement:.1%} of these rows.\n"
