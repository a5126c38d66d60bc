"""What the student minimises: the job file's terms, summed with their weights, and what they need of both sides.

Shapes: N rows, M members of a source, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from distill.contracts.ensemble import Each, EnsembleSpec, PerMemberHeads
from distill.contracts.errors import InvalidSpec
from distill.contracts.objective import FeatureTerm, FlowPair, LabelsTerm, Pair, ResponseTerm, TaughtTerm, Term
from distill.contracts.schedules import value_at
from distill.contracts.taps import MemberTap
from distill.science.answers import Answers, MemberLayout, Output, Targets
from distill.science.ensembles import base_weights, combine, member_weights
from distill.science.losses import label_loss
from distill.science.taps import no_such_tap
from distill.science.terms.features import PairLoss, Shapes, pair_loss
from distill.science.terms.response import combining_temperature, response_loss


@dataclass(frozen=True)
class Source:
    """Those who supply one kind of target."""

    layout: MemberLayout
    shapes: tuple[Shapes, ...]
    """Of each member: module -> shape of one row."""


class Objective(nn.Module):
    """The weighted sum of the terms, with the bridges and auxiliary heads that they train."""

    def __init__(
        self,
        terms: Sequence[Term],
        *,
        ensemble: EnsembleSpec,
        sources: Mapping[str, Source],
        student: Shapes,
        num_classes: int,
    ) -> None:
        """Check each term's target and taps, and build its bridges from torch's global generator.

        Args:
            terms: of the job file.
            ensemble: how served members are combined.
            sources: by name, all that the terms' targets mean.
            student: the student's modules and the shape of one row at each.
            num_classes: C.

        Raises:
            InvalidSpec: a term names a member or a module that isn't there, or shapes can't be bridged.
        """
        super().__init__()
        self.terms = tuple(terms)
        self._ensemble = ensemble
        self._weights = {name: source.layout.weights() for name, source in sources.items()}
        if "served" in sources:
            self._weights["served"] = base_weights(self._weights["served"], ensemble)
        self._members = {place: _members(term, sources) for place, term in enumerate(self.terms)}
        self.auxiliary = nn.ModuleDict()
        for place, term in enumerate(self.terms):
            if not isinstance(term, FeatureTerm) and term.at is not None and _key(term.at) not in self.auxiliary:
                shape = _shape_of(term.at, student, f"objective.{place}.at", "the student")
                self.auxiliary[_key(term.at)] = AuxiliaryHead(shape, num_classes)
        self.pairs = nn.ModuleDict(
            {
                str(place): nn.ModuleList(self._pairs(place, term, sources, student))
                for place, term in self._on_features()
            }
        )

    @property
    def student_taps(self) -> tuple[str, ...]:
        """The student's modules that are read."""
        names = [term.at for term in self.terms if not isinstance(term, FeatureTerm) and term.at is not None]
        names += [name for pairs in self._pair_losses() for name in pairs.modules_of_student]
        return tuple(dict.fromkeys(names))

    def taps_of(self, source: str) -> tuple[MemberTap, ...]:
        """What is needed of the members of a source, beside their logits."""
        asked = [
            MemberTap(member=member, tap=loss.tap)
            for place, term in self._on_features()
            if term.target.source == source
            for member, loss in self._of_term(place)
        ]
        return tuple(dict.fromkeys(asked))

    def forward(
        self, output: Output, labels_N: Tensor, targets: Targets, *, progress: float, label_share: float = 1.0
    ) -> Tensor:
        """The loss of these rows.

        Args:
            output: what the student says.
            labels_N: class numbers, (N,) int64, -1 where a row has no label that may be used.
            targets: what each source says of the same rows.
            progress: of the training, from 0 to 1.
            label_share: what the labels' terms are multiplied by: where ranks share a batch, their means over
                labelled rows count by this rank's share of them.

        Returns:
            A scalar with a gradient.

        Raises:
            ValueError: a term needs targets that didn't come.
        """
        values = [
            self._value(place, term, output, labels_N, targets, progress) for place, term in enumerate(self.terms)
        ]
        shares = [label_share if isinstance(term, LabelsTerm) else 1.0 for term in self.terms]
        weighted = [
            value_at(term.weight, progress) * share * value
            for term, share, value in zip(self.terms, shares, values, strict=True)
        ]
        return torch.stack(weighted).sum()

    def _value(
        self, place: int, term: Term, output: Output, labels_N: Tensor, targets: Targets, progress: float
    ) -> Tensor:
        if isinstance(term, LabelsTerm):
            return label_loss(self._logits(term, output), labels_N, smoothing=term.smoothing)
        answers = targets.get(term.target.source)
        if answers is None:
            raise ValueError(f"'{term.kind}' needs answers from '{term.target.source}', and none came")
        speaking = [member for member in self._members[place] if member in answers.members]
        if not speaking:
            return output.logits_NC.sum() * 0.0
        if isinstance(term, FeatureTerm):
            return self._of_features(place, output, labels_N, answers, progress, term.target.source)
        return self._of_answers(term, speaking, output, labels_N, answers, progress)

    def _of_answers(
        self,
        term: ResponseTerm,
        speaking: Sequence[int],
        output: Output,
        labels_N: Tensor,
        answers: Answers,
        progress: float,
    ) -> Tensor:
        spec = self._spec(term)
        logits_NMC = _columns(answers, speaking)
        base_M = self._weights[term.target.source][list(speaking)].to(logits_NMC.device)
        if not isinstance(spec, Each | PerMemberHeads):
            temperature = combining_temperature(term, progress)
            teacher_NC = combine(logits_NMC, base_M=base_M, spec=spec, temperature=temperature, labels_N=labels_N)
            return response_loss(term, self._logits(term, output), teacher_NC, labels_N, progress=progress)
        share_M = base_M / base_M.sum()
        losses = [
            response_loss(term, self._logits(term, output, member), logits_NMC[:, column], labels_N, progress=progress)
            for column, member in enumerate(speaking)
        ]
        return (torch.stack(losses) * share_M).sum()

    def _of_features(
        self, place: int, output: Output, labels_N: Tensor, answers: Answers, progress: float, source: str
    ) -> Tensor:
        there = [(member, loss) for member, loss in self._of_term(place) if member in answers.members]
        speaking = list(dict.fromkeys(member for member, _ in there))
        num_pairs = len(there) / len(speaking)
        base_M = self._weights[source][speaking].to(output.logits_NC)
        spec = self._ensemble if source == "served" else Each(combine="each")
        weights_NM = member_weights(_columns(answers, speaking), labels_N, base_M, spec)
        losses = [
            loss(
                output.features,
                answers.features[member, loss.tap.key].to(output.logits_NC),
                weights_NM[:, speaking.index(member)],
                progress,
            )
            for member, loss in there
        ]
        return torch.stack(losses).sum() / num_pairs

    def _spec(self, term: ResponseTerm) -> EnsembleSpec:
        """Only what is served is an ensemble; heads of members are the student's own last layer, no earlier one's."""
        if term.target.source != "served" or (term.at is not None and isinstance(self._ensemble, PerMemberHeads)):
            return Each(combine="each")
        return self._ensemble

    def _logits(self, term: LabelsTerm | ResponseTerm, output: Output, member: int | None = None) -> Tensor:
        if term.at is not None:
            logits_NC: Tensor = self.auxiliary[_key(term.at)](output.features[term.at])
            return logits_NC
        if member is None or output.heads_NMC is None or not self._mimics_heads(term):
            return output.logits_NC
        return output.heads_NMC[:, member]

    def _mimics_heads(self, term: LabelsTerm | ResponseTerm) -> bool:
        return isinstance(term, ResponseTerm) and term.target.source == "served"

    def _pairs(
        self, place: int, term: FeatureTerm, sources: Mapping[str, Source], student: Shapes
    ) -> Iterator[PairLoss]:
        """For each member, a loss of each pair."""
        for member in self._members[place]:
            shapes = sources[term.target.source].shapes[member]
            pairs: Sequence[Pair | FlowPair] = term.pairs
            for number, pair in enumerate(pairs):
                field = f"objective.{place}.pairs.{number}"
                for name in _modules(pair.student):
                    _shape_of(name, student, f"{field}.student", "the student")
                for name in _modules(pair.teacher):
                    _shape_of(name, shapes, f"{field}.teacher", f"member {member} of '{term.target.source}'")
                yield pair_loss(term, pair, student=student, teacher=shapes, field=field)

    def _of_term(self, place: int) -> Iterator[tuple[int, PairLoss]]:
        losses = list(cast("nn.ModuleList", self.pairs[str(place)]))
        members = self._members[place]
        for number, loss in enumerate(losses):
            yield members[number * len(members) // len(losses)], cast("PairLoss", loss)

    def _on_features(self) -> Iterator[tuple[int, FeatureTerm]]:
        for place, term in enumerate(self.terms):
            if isinstance(term, FeatureTerm):
                yield place, term

    def _pair_losses(self) -> Iterator[PairLoss]:
        for place, _ in self._on_features():
            for _, loss in self._of_term(place):
                yield loss


class AuxiliaryHead(nn.Module):
    """A linear classifier on what an earlier module gives: on the mean over positions of maps and tokens.

    Source: Zhang et al. (2019), arXiv:1905.08094, who put bottleneck convolutions before it; a linear one asks the
    layer itself to be discriminative, as in deeply supervised nets (Lee et al., 2015, arXiv:1409.5185).
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(shape[0] if len(shape) == 3 else shape[-1], num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C) of features (N, channels, H, W), (N, L, D) or (N, D)."""
        if features.dim() == 4:
            features = features.mean(dim=(2, 3))
        elif features.dim() == 3:
            features = features.mean(dim=1)
        logits_NC: Tensor = self.head(features)
        return logits_NC


def _columns(answers: Answers, members: Sequence[int]) -> Tensor:
    """Logits of these members, (N, M, C)."""
    return answers.logits_NMC[:, [answers.members.index(member) for member in members]]


def _members(term: Term, sources: Mapping[str, Source]) -> tuple[int, ...]:
    if not isinstance(term, TaughtTerm):
        return ()
    source = sources.get(term.target.source)
    members = source.layout.members_of(term.target) if source else ()
    if not members:
        raise InvalidSpec(
            f"objective: '{term.kind}' learns from '{term.target.source}', and nobody is there",
            field="objective.target",
            expected=f"one of {', '.join(sources) or 'no target at all'}",
            got=term.target.source,
        )
    return members


def _shape_of(name: str, shapes: Shapes, field: str, whose: str) -> tuple[int, ...]:
    if name in shapes:
        return shapes[name]
    raise no_such_tap(field, whose, name, list(shapes))


def _modules(side: str | tuple[str, str]) -> tuple[str, ...]:
    return (side,) if isinstance(side, str) else side


def _key(module: str) -> str:
    """torch forbids dots in the names of modules, and names that its containers have themselves."""
    return "at/" + module.replace(".", "/")
