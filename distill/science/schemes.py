"""Who teaches beside the pool: each reads what students say of a step's rows, and answers as a teacher would.

Shapes: N rows, K students, C classes.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.contracts.schedules import value_at
from distill.contracts.scheme import Fusion, Transformed
from distill.contracts.taps import MemberTap, RowShape
from distill.science.answers import Answers, Output
from distill.science.losses import label_loss, soft_target_loss
from distill.science.models import Classifier
from distill.science.models.heads import ManyHeads
from distill.science.taps import Taps
from distill.science.terms.features import reduced


def look(model: Classifier, inputs: Tensor, names: Sequence[str]) -> Output:
    """What a model says of raw inputs (N, ...), and the outputs of the modules named; all in float32."""
    with Taps(model, names) as features:
        if isinstance(model, ManyHeads):
            heads_NMC = model.heads(inputs)
            output = Output(model.together(heads_NMC), heads_NMC)
        else:
            output = Output(model(inputs))
    return replace(output, features={name: tensor.float() for name, tensor in features.items()})


def answers_of(outputs: Sequence[Output], taps: Sequence[MemberTap]) -> Answers:
    """Outputs as the answers of as many members, held constant."""
    features = {
        (asked.member, asked.tap.key): reduced(asked.tap, outputs[asked.member].features).detach() for asked in taps
    }
    logits_NKC = torch.stack([output.logits_NC.detach() for output in outputs], dim=1)
    return Answers(logits_NKC, tuple(range(len(outputs))), features)


class Average(nn.Module):
    """A copy of the student that follows it slowly. Source: Tarvainen, Valpola (2017), arXiv:1703.01780."""

    def __init__(self, student: Classifier, *, decay: float) -> None:
        super().__init__()
        self.model = copy.deepcopy(student).requires_grad_(requires_grad=False)
        self._decay = decay

    @torch.no_grad()
    def look(self, inputs: Tensor, names: Sequence[str]) -> Output:
        """What the average says: without dropout, and with the student's latest running statistics."""
        self.model.eval()
        return look(self.model, inputs, names)

    @torch.no_grad()
    def follow(self, student: Classifier, *, step: int) -> None:
        """Move towards the student after its step ``step``, counted from 0.

        The decay is at most (1 + step) / (10 + step), so that the first steps' weights are soon forgotten.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.model.parameters(), student.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)
        for statistic, its in zip(self.model.buffers(), student.buffers(), strict=True):
            statistic.copy_(its)


@torch.no_grad()
def look_transformed(model: Classifier, inputs: Tensor, names: Sequence[str], spec: Transformed) -> Output:
    """What the student says of the transformed images (N, C, H, W), its maps (N, C, H, W) transformed back.

    Normalised by the statistics of these images, as in any step; but they leave no trace in the student's running
    statistics, by which it is measured on images that nobody turned.
    """
    with _buffers_kept(model):
        output = look(model, _turned(inputs, spec, back=False), names)
    features = {
        name: _turned(tensor, spec, back=True) if tensor.dim() == 4 else tensor
        for name, tensor in output.features.items()
    }
    return Output(output.logits_NC, output.heads_NMC, features)


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Let the model change copies of its buffers; its own are left alone, for a backward pass may need them as they are."""
    kept = [
        (module, name, buffer) for module in model.modules() for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        for module, name, buffer in kept:
            setattr(module, name, buffer.clone())
        yield
    finally:
        for module, name, buffer in kept:
            setattr(module, name, buffer)


class FusionHead(nn.Module):
    """A classifier on the peers' joined features, which learns beside them and teaches them.

    Maps are averaged to the coarsest grid of all, joined along their channels, mixed by a 1 x 1 convolution, averaged
    over positions and classified; vectors go through a linear layer instead.

    Source:
        Kim, Hyun, Chung, Kwak (2019), arXiv:1904.09058, section 3, who mix with a depthwise 3 x 3 and a pointwise
        convolution; one pointwise convolution does for peers of different grids too.
    """

    def __init__(self, spec: Fusion, shapes: Sequence[Mapping[str, RowShape]], num_classes: int) -> None:
        super().__init__()
        own = [shapes[place][name] for place, name in enumerate(spec.taps)]
        self._spec = spec
        self._is_maps = all(len(shape) == 3 for shape in own)
        width = sum(shape[0] if self._is_maps else math.prod(shape) for shape in own)
        self.mix: nn.Module = nn.Conv2d(width, spec.channels, 1) if self._is_maps else nn.Linear(width, spec.channels)
        self.head = nn.Linear(spec.channels, num_classes)

    def forward(self, outputs: Sequence[Output]) -> Tensor:
        """Logits (N, C)."""
        parts = [output.features[name] for output, name in zip(outputs, self._spec.taps, strict=True)]
        if not self._is_maps:
            joined = torch.cat([part.flatten(1) for part in parts], dim=1)
            return self._classified(functional.relu(self.mix(joined)))
        grid = min(part.shape[2] for part in parts), min(part.shape[3] for part in parts)
        joined = torch.cat([functional.adaptive_avg_pool2d(part, grid) for part in parts], dim=1)
        pooled: Tensor = functional.relu(self.mix(joined)).mean(dim=(2, 3))
        return self._classified(pooled)

    def _classified(self, joined: Tensor) -> Tensor:
        logits_NC: Tensor = self.head(joined)
        return logits_NC

    def loss(
        self, fused_NC: Tensor, outputs: Sequence[Output], labels_N: Tensor, *, progress: float, label_share: float
    ) -> Tensor:
        """What the head itself learns: the labels, and the mean of the peers' logits (equation 3)."""
        peers_NC = torch.stack([output.logits_NC.detach() for output in outputs]).mean(dim=0)
        taught = soft_target_loss(fused_NC, peers_NC, temperature=value_at(self._spec.temperature, progress))
        return value_at(self._spec.weight, progress) * (label_share * label_loss(fused_NC, labels_N) + taught)


def _turned(images: Tensor, spec: Transformed, *, back: bool) -> Tensor:
    if spec.transform == "flip":
        return images.flip(3)
    return images.rot90(-1 if back else 1, dims=(2, 3))
