"""The member that is right most often on the validation rows: rank 0 asks, and all ranks hear the same.

Shapes: N validation rows, M members, C classes.
"""

from distill.contracts.errors import TeacherUnavailable
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


def _asked(dataset: Dataset, pool: Pool) -> float:
    rows = dataset.validation_rows
    labelled = rows[dataset.labels[rows] >= 0]
    try:
        logits_NMC = answers(dataset.inputs[labelled], pool)
    except TeacherUnavailable:
        return NOBODY_ANSWERED
    return float(best_member(logits_NMC, dataset.labels[labelled]))
