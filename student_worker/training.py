"""The student in training: one step at a time, the same whatever supplies its targets.

Shapes: N rows of one rank's share, C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distill.contracts.ensemble import EnsembleSpec
from distill.contracts.job import TrainingSpec
from distill.contracts.objective import LabelsTerm, Term
from distill.contracts.teachers import ResolvedTeacher
from distill.science.models import Classifier
from distill.science.objective import MemberLayout, Objective, Targets
from distill.science.optimisation import make_optimizer, make_schedule
from distill.science.seeds import mixed_seed
from student_worker.batches import Batch


class Training:
    """Model, optimiser and schedule, moved on by `step`."""

    def __init__(
        self,
        model: Classifier,
        objective: "SharedObjective",
        spec: TrainingSpec,
        *,
        num_steps: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.model = model.to(device)
        self.optimizer = make_optimizer(self.model, spec.optimizer)
        self.schedule = make_schedule(self.optimizer, spec.schedule, num_steps)
        self._objective = objective
        self._spec = spec
        self._device = device
        self._rank = rank
        self._forward: nn.Module = self.model if world_size == 1 else _in_parallel(self.model, device)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step(self, batch: Batch, targets: Targets, *, number: int) -> Tensor:
        """Learn from one batch.

        Args:
            batch: this rank's share.
            targets: what its rows are taught.
            number: of the step, over all epochs: with the seed and the rank it decides what dropout drops.

        Returns:
            This rank's loss, a detached scalar, whose mean over the ranks is that of the global batch.
        """
        torch.manual_seed(mixed_seed(self._spec.seed, number, self._rank))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._spec.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._spec.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def _loss(self, batch: Batch, targets: Targets) -> Tensor:
        half = self._spec.precision == "bf16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=half):
            student_NC = self._forward(batch.inputs.to(self._device))
        return self._objective(student_NC.float(), batch, _on(self._device, targets))


class SharedObjective:
    """The job's objective over a batch that ranks share: the mean over ranks is the loss of the whole batch.

    Terms over all rows are means of equal shares already. The labels' term is a mean over labelled rows, which ranks
    hold in unequal numbers: a rank's own mean counts by its share of them.
    """

    def __init__(self, terms: Sequence[Term], *, ensemble: EnsembleSpec, layout: MemberLayout, world_size: int) -> None:
        whole = Objective(terms, ensemble=ensemble, layout=layout)
        labels = [term for term in terms if isinstance(term, LabelsTerm)]
        others = [term for term in terms if not isinstance(term, LabelsTerm)]
        self._world_size = world_size
        self._whole = whole
        self._labels = Objective(labels, ensemble=ensemble, layout=layout) if labels else None
        self._others = Objective(others, ensemble=ensemble, layout=layout) if others else None

    def __call__(self, student_NC: Tensor, batch: Batch, targets: Targets) -> Tensor:
        """This rank's loss, a scalar with a gradient."""
        labels_N = batch.labels_N.to(student_NC.device)
        if self._world_size == 1:
            return self._whole(student_NC, labels_N, targets)[0]
        share = int((batch.labels_N >= 0).sum()) * self._world_size / max(1, batch.num_labelled)
        parts = [share * self._labels(student_NC, labels_N, targets)[0]] if self._labels else []
        parts += [self._others(student_NC, labels_N, targets)[0]] if self._others else []
        return torch.stack(parts).sum()


def layout_of(teachers: Sequence[ResolvedTeacher]) -> MemberLayout:
    """Where the members of these teachers stand in an answer."""
    return MemberLayout.of([(teacher.weight, len(teacher.manifest.members)) for teacher in teachers])


def _in_parallel(model: Classifier, device: torch.device) -> DistributedDataParallel:
    # every step uses the same parameters, which is all that a static graph says: some models leave one of theirs unused
    device_ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=device_ids, static_graph=True)


def _on(device: torch.device, targets: Targets) -> Targets:
    if targets.served_logits_NMC is None:
        return targets
    return Targets(served_logits_NMC=targets.served_logits_NMC.to(device))
