"""The teachers of a job in this very process: the same answers as the pool's, without a cluster.

For notebooks, for comparisons, and where many small jobs run one after the other. It holds the caller's device and
memory, computes everything again in every epoch and job, and shares with nobody: the pool is there for the rest.

Shapes: N rows, M members of all teachers together, C classes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distill.contracts import names
from distill.contracts.classes import check_top_k
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ResolvedTeacher
from distill.contracts.wire import AnswerPrecision
from distill.science.compact import CompactLogits
from teacher_server.parts import Part, parts_of
from teacher_server.runner import Ensemble
from teacher_server.window import LOGITS, TOP_CLASSES, TOP_LOG_PROBS, TOP_TAIL, tap_key


@dataclass(frozen=True)
class LocalAnswer:
    """An answer that is there at once."""

    logits: CompactLogits
    members: tuple[int, ...]
    features: dict[tuple[int, str], Tensor]

    @property
    def logits_NMC(self) -> Tensor:  # noqa: N802 - the name carries the shape
        """(N, M, C), dense; of the greatest classes alone it is made of their log-probabilities."""
        return self.logits.dense()

    def result(self) -> "LocalAnswer":
        """Itself."""
        return self


class LocalPool:
    """What `teacher_server.client.TeacherPool` answers, answered here."""

    def __init__(
        self,
        teachers: Sequence[ResolvedTeacher],
        *,
        storage: Path,
        precision: AnswerPrecision,
        top_k: int | None = None,
        taps: Sequence[MemberTap] = (),
        device: torch.device | str = "cpu",
        max_batch_rows: int = 1024,
        plugins: Collection[str] = (),
    ) -> None:
        """Load every member from the storage root.

        Args:
            teachers: in job-file order.
            storage: the root.
            precision: of logits and taps.
            top_k: only so many classes, with the mass of the others; left out: logits of all.
            taps: what is wanted beside logits; members are counted over all teachers, in job-file order.
            device: where all members run.
            max_batch_rows: rows of one forward pass.
            plugins: the import paths that members may name.

        Raises:
            InvalidSpec: a member is a plugin that is not among them, or there are no more classes than ``top_k``.
            InvalidWeights: what lies on storage is not the version that a teacher's digest names.
        """
        for teacher in teachers:
            if top_k is not None:
                check_top_k(top_k, len(teacher.manifest.classes))
        self.rows_asked = 0
        self.rows_recalled = 0
        self.wait_s = 0.0
        self._precision = precision
        self._top_k = top_k
        self._taps = tuple(taps)
        self._ensembles = [
            Ensemble.load(
                storage / names.teacher_folder(teacher.name, teacher.version),
                digest=teacher.digest,
                device=torch.device(device),
                max_batch_rows=max_batch_rows,
                plugins=plugins,
            )
            for teacher in teachers
        ]

    def ask(self, inputs: Tensor, *, members: Sequence[int] | None = None, with_taps: bool = True) -> LocalAnswer:
        """Answer raw inputs (N, ...) now; the arguments are those of `TeacherPool.ask`."""
        sizes = [ensemble.num_members for ensemble in self._ensembles]
        parts = parts_of(sizes, members, self._taps if with_taps else ())
        answered = [(part, self._answer(part, inputs)) for part in parts]
        self.rows_asked += len(inputs) * len(parts)
        return LocalAnswer(
            logits=CompactLogits.join([self._logits(tensors) for _, tensors in answered], dim=1),
            members=tuple(part.start + member for part, _ in answered for member in part.members),
            features={
                (part.start + asked.member, asked.tap.key): tensors[tap_key(asked.member, asked.tap)]
                for part, tensors in answered
                for asked in part.taps
            },
        )

    def _answer(self, part: Part, inputs: Tensor) -> dict[str, Tensor]:
        ensemble = self._ensembles[part.teacher]
        ensemble.check_taps(part.taps, part.members)
        answered = ensemble.answer(
            inputs.detach().contiguous().numpy(),
            members=part.members,
            precision=self._precision,
            top_k=self._top_k,
            taps=part.taps,
        )
        return {key: torch.from_numpy(tensor) for key, tensor in answered.items()}

    def _logits(self, tensors: Mapping[str, Tensor]) -> CompactLogits:
        if self._top_k is None:
            return CompactLogits.of(tensors[LOGITS])
        top = (tensors[TOP_LOG_PROBS], tensors[TOP_CLASSES], tensors[TOP_TAIL])
        return CompactLogits(top, self._ensembles[0].num_classes)
