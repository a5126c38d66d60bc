"""Everything that is trained, and the loss that trains it: one module, whatever the scheme.

Shapes: N rows, K students, C classes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from distill.contracts.ensemble import EnsembleSpec
from distill.contracts.errors import InvalidSpec
from distill.contracts.models import ImageInput, InputSpec
from distill.contracts.objective import FeatureTerm, FlowPair, Pair, Term, ViewTarget
from distill.contracts.scheme import Offline, Online, SchemeSpec, SelfTaught
from distill.contracts.taps import MemberTap
from distill.science.answers import Answers, MemberLayout, Output, Targets
from distill.science.models import Classifier
from distill.science.objective import Objective, Source
from distill.science.schemes import Average, FusionHead, answers_of, look, look_transformed
from distill.science.taps import no_such_tap, tap_shapes
from distill.science.terms.features import Shapes


class Learner(nn.Module):
    """The students, and what their loss needs beside them: bridges, auxiliary heads, a fused head, an average.

    The first student is the one that is measured and exported; the others are its peers.
    """

    def __init__(
        self,
        students: Sequence[Classifier],
        terms: Sequence[Term],
        *,
        ensemble: EnsembleSpec,
        scheme: SchemeSpec,
        served: Source,
        input: InputSpec,
        num_classes: int,
    ) -> None:
        """Build what is missing from torch's global generator.

        Args:
            students: the job's own, then its peers; taken over.
            terms: of the job file: each student has this objective.
            ensemble: how served members are combined.
            scheme: who teaches beside the pool.
            served: the members of all teachers.
            input: what a row looks like.
            num_classes: C.

        Raises:
            InvalidSpec: a term, or the scheme, names what isn't there, or shapes can't be bridged.
        """
        super().__init__()
        self.students = nn.ModuleList(students)
        self._scheme = scheme
        shapes = [tap_shapes(student, input) for student in students]
        self.objectives = nn.ModuleList(
            Objective(
                terms,
                ensemble=ensemble,
                sources=_sources(scheme, place, served, shapes),
                student=shapes[place],
                num_classes=num_classes,
            )
            for place in range(len(students))
        )
        self.fusion = _fusion_head(scheme, shapes, num_classes)
        self.average = _average(scheme, students[0])
        _check_view(scheme, input)
        _check_turned_back(terms, shapes[0])
        self._names = [self._names_of(place) for place in range(len(students))]

    @property
    def student(self) -> Classifier:
        """The one that the job is for."""
        return self.students[0]  # type: ignore[return-value]  # a ModuleList forgets what it holds

    @property
    def served_taps(self) -> tuple[MemberTap, ...]:
        """What is needed of served members beside their logits, over all students."""
        asked = [tap for objective in self._objectives for tap in objective.taps_of("served")]
        return tuple(dict.fromkeys(asked))

    def forward(
        self,
        inputs: Tensor,
        labels_N: Tensor,
        served: Answers | None,
        *,
        progress: float,
        label_share: float = 1.0,
        half: bool = False,
    ) -> Tensor:
        """The loss of one step's rows: the sum over students.

        Args:
            inputs: raw, (N, ...), as the teachers saw them.
            labels_N: class numbers, (N,) int64, -1 where a row has no label that may be used.
            served: the pool's answers for the same rows; None where the job has no teacher.
            progress: of the training, from 0 to 1.
            label_share: see `Objective.forward`.
            half: compute the students in bfloat16.

        Returns:
            A scalar with a gradient.
        """
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=half):
            outputs = [
                look(student, inputs, names)  # type: ignore[arg-type]
                for student, names in zip(self.students, self._names, strict=True)
            ]
            own = self._own_outputs(inputs, outputs)
        # losses, and what members' features are reduced to, are no matter of half precision
        extra = {name: answers_of([output], self._objectives[0].taps_of(name)) for name, output in own.items()}
        losses = []
        if isinstance(self.fusion, FusionHead):
            fused_NC = self.fusion(outputs)
            losses.append(self.fusion.loss(fused_NC, outputs, labels_N, progress=progress, label_share=label_share))
            extra["fused"] = answers_of([Output(fused_NC)], ())
        for place, (objective, output) in enumerate(zip(self._objectives, outputs, strict=True)):
            targets = self._targets(place, objective, outputs, served, extra)
            losses.append(objective(output, labels_N, targets, progress=progress, label_share=label_share))
        return torch.stack(losses).sum()

    def after_step(self, step: int) -> None:
        """What follows the optimiser's step ``step``, counted from 0."""
        if isinstance(self.average, Average):
            self.average.follow(self.student, step=step)

    def _targets(
        self,
        place: int,
        objective: Objective,
        outputs: Sequence[Output],
        served: Answers | None,
        extra: Mapping[str, Answers],
    ) -> Targets:
        targets = dict(extra)
        if served is not None:
            targets["served"] = served
        if isinstance(self._scheme, Online):
            others = [output for number, output in enumerate(outputs) if number != place]
            targets["peers"] = answers_of(others, objective.taps_of("peers"))
        return targets

    def _own_outputs(self, inputs: Tensor, outputs: Sequence[Output]) -> dict[str, Output]:
        """What the student itself says, in its several ways, by the name of the target."""
        if not isinstance(self._scheme, SelfTaught):
            return {}
        objective = self._objectives[0]
        found = {"self": outputs[0]}
        if isinstance(self.average, Average):
            found["average"] = self.average.look(inputs, _modules(objective.taps_of("average")))
        if self._scheme.view is not None:
            names = _modules(objective.taps_of("view"))
            found["view"] = look_transformed(self.student, inputs, names, self._scheme.view)
        return found

    def _names_of(self, place: int) -> tuple[str, ...]:
        """The modules of a student that anybody reads."""
        own = self._objectives[place]
        names = [*own.student_taps, *_modules(own.taps_of("self"))]
        for other, objective in enumerate(self._objectives):
            if other != place:
                mine = place if place < other else place - 1
                names += _modules([asked for asked in objective.taps_of("peers") if asked.member == mine])
        if isinstance(self._scheme, Online) and self._scheme.fusion is not None:
            names.append(self._scheme.fusion.taps[place])
        return tuple(dict.fromkeys(names))

    @property
    def _objectives(self) -> list[Objective]:
        return list(self.objectives)  # type: ignore[arg-type]  # a ModuleList forgets what it holds


def _sources(scheme: SchemeSpec, place: int, served: Source, shapes: Sequence[Shapes]) -> dict[str, Source]:
    """Who can be a target of student ``place``."""
    found = {"served": served} if served.layout.num_members else {}
    alone = MemberLayout.even(1)
    match scheme:
        case Offline():
            return found
        case Online(fusion=fusion):
            others = tuple(shape for number, shape in enumerate(shapes) if number != place)
            found["peers"] = Source(MemberLayout.even(len(others)), others)
            return found | ({"fused": Source(alone, ({},))} if fusion else {})
        case SelfTaught(average=average, view=view):
            own = Source(alone, (shapes[0],))
            there = {"self": True, "average": average is not None, "view": view is not None}
            return found | {name: own for name, is_there in there.items() if is_there}


def _fusion_head(scheme: SchemeSpec, shapes: Sequence[Shapes], num_classes: int) -> FusionHead | None:
    if not isinstance(scheme, Online) or scheme.fusion is None:
        return None
    for place, (name, known) in enumerate(zip(scheme.fusion.taps, shapes, strict=True)):
        if name not in known:
            whose = "the student" if place == 0 else f"peer {place - 1}"
            raise no_such_tap(f"scheme.fusion.taps.{place}", whose, name, list(known))
    return FusionHead(scheme.fusion, shapes, num_classes)


def _average(scheme: SchemeSpec, student: Classifier) -> Average | None:
    if not isinstance(scheme, SelfTaught) or scheme.average is None:
        return None
    return Average(student, decay=scheme.average.decay)


def _check_view(scheme: SchemeSpec, taken: InputSpec) -> None:
    if not isinstance(scheme, SelfTaught) or scheme.view is None:
        return
    transform, given = scheme.view.transform, f"rows of kind '{taken.kind}'"
    if isinstance(taken, ImageInput):
        if transform != "rotate" or taken.height == taken.width:
            return
        given = f"images of {taken.height} x {taken.width}"
    needed = "square images" if transform == "rotate" else "images"
    raise InvalidSpec(
        f"scheme.view.transform: '{transform}' needs {needed}, and the data has {given}",
        field="scheme.view.transform",
        expected=needed,
        got=given,
    )


def _check_turned_back(terms: Sequence[Term], shapes: Shapes) -> None:
    """Maps are turned back, and vectors have no place; where a token stands isn't known."""
    for place, term in enumerate(terms):
        if not isinstance(term, FeatureTerm) or not isinstance(term.target, ViewTarget):
            continue
        pairs: Sequence[Pair | FlowPair] = term.pairs
        for number, pair in enumerate(pairs):
            if isinstance(pair, Pair) and len(shapes[pair.teacher]) == 2:
                field = f"objective.{place}.pairs.{number}.teacher"
                raise InvalidSpec(
                    f"{field}: '{pair.teacher}' gives tokens {shapes[pair.teacher]}, which can't be turned back for the "
                    "target 'view'; name a module that gives maps or vectors",
                    field=field,
                    expected="a module that gives maps (C, H, W) or vectors (D,)",
                    got=pair.teacher,
                )


def _modules(taps: Sequence[MemberTap]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for asked in taps for name in asked.tap.modules))
