"""The member that is right most often on the validation rows: rank 0 asks, and all ranks hear the same.

Shapes: N validation rows, M members, C classes.
"""

from torch import Tensor

from distill.contracts.errors import InvalidSpec, TeacherUnavailable
from distill.science.datasets import Dataset
from distill.science.members import best_member
from student_worker.asking import answers
from student_worker.pool import Pool
from student_worker.ranks import Ranks

NOBODY_ANSWERED = -1.0


def find_best(dataset: Dataset, pool: Pool, ranks: Ranks) -> int:
    """The position of the best member; every rank calls this at the same time.

    Raises:
        TeacherUnavailable: on every rank, where rank 0 got no answer.
    """
    mine = _asked(dataset, pool) if ranks.is_first else 0.0
    (best,) = ranks.total(mine)
    if best == NOBODY_ANSWERED:
        raise TeacherUnavailable("no teacher answered for the validation rows")
    return int(best)


def check_has_validation_labels(labels_N: Tensor) -> None:
    """Refuse a choice that nothing could decide.

    Raises:
        InvalidSpec: no validation row has a label.
    """
    if not bool((labels_N >= 0).any()):
        raise InvalidSpec(
            "ensemble.members: 'best' is chosen on validation rows, and none of them has a label",
            field="ensemble.members.kind",
            hint="hold labelled rows back (dataset.validation), or choose other members",
        )


def _asked(dataset: Dataset, pool: Pool) -> float:
    rows = dataset.validation_rows
    labelled = rows[dataset.labels[rows] >= 0]
    try:
        logits_NMC = answers(dataset.inputs[labelled], pool)
    except TeacherUnavailable:
        return NOBODY_ANSWERED
    return float(best_member(logits_NMC, dataset.labels[labelled]))
