"""The student in training: one step at a time, the same whatever supplies its targets.

Shapes: N rows of one rank's share, C classes.
"""

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distill.contracts.job import TrainingSpec
from distill.science.answers import Answers
from distill.science.learner import Learner
from distill.science.models import Classifier
from distill.science.optimisation import make_optimizer, make_schedule
from distill.science.seeds import mixed_seed
from student_worker.batches import Batch


class Training:
    """Learner, optimiser and schedule, moved on by `step`."""

    def __init__(
        self,
        learner: Learner,
        spec: TrainingSpec,
        *,
        num_steps: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        all_speak: bool = True,
    ) -> None:
        """``all_speak``: every member is asked at every step, so every bridge has its gradient then."""
        self.learner = learner.to(device)
        self.optimizer = make_optimizer(self.learner, spec.optimizer)
        self.schedule = make_schedule(self.optimizer, spec.schedule, num_steps)
        self.selected: dict[str, Tensor] = {}
        """The student's tensors, on the CPU, as they were when `select` was last called; empty before that."""
        self._spec = spec
        self._num_steps = num_steps
        self._device = device
        self._rank = rank
        self._world_size = world_size
        self._forward: nn.Module = self.learner
        if world_size > 1:
            self._forward = _in_parallel(self.learner, device, all_speak=all_speak)

    @property
    def model(self) -> Classifier:
        """The student that is measured and exported."""
        return self.learner.student

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def select(self) -> None:
        """Keep the student as it is now, beside the one that goes on."""
        state = self.model.state_dict()
        self.selected = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}

    def take_selected(self) -> None:
        """Let the student be the one that was selected."""
        self.model.load_state_dict(self.selected, strict=True)

    def step(self, batch: Batch, served: Answers | None, *, number: int) -> Tensor:
        """Learn from one batch.

        Args:
            batch: this rank's share.
            served: what the pool says of its rows.
            number: of the step, over all epochs: with the seed and the rank it decides what dropout drops.

        Returns:
            This rank's loss, a detached scalar, whose mean over the ranks is that of the global batch.
        """
        self._seed(mixed_seed(self._spec.seed, number, self._rank))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch, served, progress=number / self._num_steps)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._spec.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.learner.parameters(), self._spec.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        self.learner.after_step(number)
        return loss.detach()

    def _seed(self, seed: int) -> None:
        # torch.manual_seed would note for every kind of device that is not in use, with a stack trace each time, that it
        # is to be seeded once it is
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _loss(self, batch: Batch, served: Answers | None, *, progress: float) -> Tensor:
        loss: Tensor = self._forward(
            batch.inputs.to(self._device),
            batch.labels_N.to(self._device),
            None if served is None else served.to(self._device),
            progress=progress,
            label_share=self._label_share(batch),
            half=self._spec.precision == "bf16",
        )
        return loss

    def _label_share(self, batch: Batch) -> float:
        """Terms over all rows are means of equal shares already; labelled rows are spread over ranks unevenly."""
        if self._world_size == 1:
            return 1.0
        return int((batch.labels_N >= 0).sum()) * self._world_size / max(1, batch.num_labelled)


def _in_parallel(learner: Learner, device: torch.device, *, all_speak: bool) -> DistributedDataParallel:
    # where every step uses the same parameters, a static graph also bears models that leave one of theirs unused
    device_ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(
        learner, device_ids=device_ids, static_graph=all_speak, find_unused_parameters=not all_speak
    )
