"""A teacher whose answers become NaN: the job fails with its name, and nothing is learned from them."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest
import torch
from redis import Redis
from torch import Tensor

from distill.contracts.errors import NotFinite
from distill.contracts.records import JobRecord, Outcome
from distill.contracts.settings import NodeSettings
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ResolvedTeacher
from student_worker.outcomes import ending_of
from student_worker.session import Session
from teacher_server.local import LocalAnswer, LocalPool
from tests.student_worker.knowledge import a_job, a_trained_teacher, step_by_step

SICKENS_AT = 4
"""The window from which on the second member answers with NaN."""
PAIRS = [{"student": "stages.1", "teacher": "stages.1"}]


class SickeningPool(LocalPool):
    """The real teachers in this process; the weights of one go bad while it is asked."""

    windows = 0

    def ask(self, inputs: Tensor, *, members: Sequence[int] | None = None, with_taps: bool = True) -> LocalAnswer:
        """Count the windows, and break the member's last layer."""
        self.windows += 1
        if self.windows == SICKENS_AT:
            with torch.no_grad():
                self._ensembles[0]._members[1].net.head.bias[0] = torch.nan
        return super().ask(inputs, members=members, with_taps=with_taps)


@pytest.fixture(scope="module")
def wise(settings: NodeSettings) -> ResolvedTeacher:
    return a_trained_teacher(settings, "sickens")


def sickening(record: JobRecord, settings: NodeSettings, taps: Sequence[MemberTap]) -> LocalPool:
    """The pool of such teachers."""
    return SickeningPool(record.teachers, storage=settings.storage, precision="fp32", taps=taps)


@pytest.mark.parametrize(
    "objective",
    [[{"kind": "soft_targets"}], [{"kind": "labels"}, {"kind": "hint", "pairs": PAIRS}]],
    ids=["from answers", "from features"],
)
def test_a_teacher_that_answers_with_nan_fails_the_job_by_name_and_teaches_nothing(
    settings: NodeSettings, redis: Redis, wise: ResolvedTeacher, objective: list[dict[str, Any]]
):
    record = a_job(settings, "sickens", (wise,), objective=objective)
    sick: list[tuple[Session, float]] = []
    with pytest.raises(NotFinite) as error:
        sick.extend(step_by_step(record, settings, redis, sickening))

    healthy = list(islice(step_by_step(record, settings, redis), len(sick)))
    assert sick
    assert [loss for _, loss in sick] == [loss for _, loss in healthy]
    learned, expected = (steps[-1][0].training.learner.state_dict() for steps in (sick, healthy))
    assert all(torch.equal(tensor, learned[name]) for name, tensor in expected.items())
    ending = ending_of(error.value)
    assert ending.outcome is Outcome.FAILED
    assert ending.problem is not None
    assert (ending.problem.code, ending.problem.field) == ("answer_not_finite", "teachers")
    assert ending.problem.message.startswith("sickens@1 answers with NaN or infinity in 'logits'")
