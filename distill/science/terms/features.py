"""Terms on features: one pair of modules, of the student and of one member, bridged where their sizes differ.

A bridge is trained with the student and belongs to the training alone: it is no part of the exported student.

Shapes: N rows, C channels, H height, W width, L tokens, D features.
"""

import math
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from distill.contracts.errors import InvalidSpec
from distill.contracts.objective import (
    AttentionTerm,
    ContrastiveTerm,
    CorrelationTerm,
    FeatureTerm,
    FlowPair,
    FlowTerm,
    HintTerm,
    NeuronSelectivityTerm,
    Pair,
    ProbabilisticTerm,
    RelationalAngleTerm,
    RelationalDistanceTerm,
    SimilarityTerm,
)
from distill.contracts.schedules import value_at
from distill.contracts.taps import AttentionTap, FlowTap, PooledTap, RowShape, TapSpec, WholeTap
from distill.science import losses

Shapes = Mapping[str, RowShape]


class PairLoss(nn.Module):
    """What one pair of modules costs; `tap` is what it needs of the teacher, ``modules_of_student`` what of the student."""

    def __init__(self, tap: TapSpec, modules: tuple[str, ...]) -> None:
        super().__init__()
        self.tap = tap
        self.modules_of_student = modules

    def forward(self, student: Mapping[str, Tensor], teacher: Tensor, weight_N: Tensor, progress: float) -> Tensor:
        """The weighted cost.

        Args:
            student: outputs of the student's modules by name, (N, ...); gradients flow.
            teacher: the tap's answer, (N, ...); constants.
            weight_N: how much this member counts for each row. A loss that relates rows to each other takes the mean.
            progress: of the training, from 0 to 1.

        Returns:
            A scalar.
        """
        raise NotImplementedError


def pair_loss(term: FeatureTerm, pair: Pair | FlowPair, *, student: Shapes, teacher: Shapes, field: str) -> PairLoss:
    """The term's loss for this pair, with fresh bridges drawn from torch's global generator.

    Args:
        term: which loss.
        pair: modules that both sides have.
        student: module -> shape of one row, of the student.
        teacher: the same of the member.
        field: of the job file, for errors.

    Raises:
        InvalidSpec: the shapes can't be bridged.
    """
    try:
        return _made(term, pair, student, teacher)
    except ValueError as error:
        raise InvalidSpec(f"{field}: {error}", field=field, got=str(pair.model_dump())) from error


def _made(term: FeatureTerm, pair: Pair | FlowPair, student: Shapes, teacher: Shapes) -> PairLoss:
    if isinstance(term, FlowTerm) or isinstance(pair, FlowPair):
        assert isinstance(pair, FlowPair)  # noqa: S101 - the contract gives flow pairs to flow terms alone
        return _Flow(pair, student, teacher)
    own, others = student[pair.student], teacher[pair.teacher]
    match term:
        case HintTerm():
            return _Hint(term, pair, own, others)
        case AttentionTerm():
            return _Attention(term, pair, own, others)
        case NeuronSelectivityTerm():
            return _NeuronSelectivity(pair, own, others)
        case ContrastiveTerm():
            return _Contrastive(term, pair, own, others)
        case _:
            return _Relation(term, pair, own, others)


class _Hint(PairLoss):
    def __init__(self, term: HintTerm, pair: Pair, own: RowShape, others: RowShape) -> None:
        if len(own) != len(others) or (len(own) == 2 and own[0] != others[0]):
            raise ValueError(f"'{pair.student}' gives {own} and '{pair.teacher}' {others}: {_NO_BRIDGE}")
        super().__init__(_pooled(pair.teacher, own, others), (pair.student,))
        self._name = pair.student
        width, wanted = _width(own), _width(others)
        if term.regressor == "identity" and width != wanted:
            raise ValueError(
                f"'{pair.student}' is {width} wide and '{pair.teacher}' {wanted}: an identity can't bridge that, "
                "set 'regressor: projection'"
            )
        self.regressor = nn.Identity() if _is_same(term, width, wanted) else _projection(own, wanted)

    def forward(self, student: Mapping[str, Tensor], teacher: Tensor, weight_N: Tensor, progress: float) -> Tensor:
        regressed = self.regressor(_on_grid(student[self._name], teacher))
        return losses.hint_loss(regressed, teacher, weight_N=weight_N)


class _Attention(PairLoss):
    def __init__(self, term: AttentionTerm, pair: Pair, own: RowShape, others: RowShape) -> None:
        tap = AttentionTap(name=pair.teacher, power=term.power)
        theirs = tap.row_shape({pair.teacher: others})
        mine = AttentionTap(name=pair.student, power=term.power).row_shape({pair.student: own})
        if len(mine) != len(theirs) or (len(mine) == 1 and mine != theirs):
            raise ValueError(f"'{pair.student}' gives maps {mine} and '{pair.teacher}' {theirs}: {_NO_BRIDGE}")
        super().__init__(tap, (pair.student,))
        self._name = pair.student
        self._term = term

    def forward(self, student: Mapping[str, Tensor], teacher: Tensor, weight_N: Tensor, progress: float) -> Tensor:
        own = losses.attention_map(student[self._name], power=self._term.power)
        return losses.attention_loss(own, teacher, form=self._term.form, weight_N=weight_N)


class _Flow(PairLoss):
    def __init__(self, pair: FlowPair, student: Shapes, teacher: Shapes) -> None:
        tap = FlowTap(first=pair.teacher[0], second=pair.teacher[1])
        wanted = tap.row_shape(teacher)
        own = FlowTap(first=pair.student[0], second=pair.student[1]).row_shape(student)
        super().__init__(tap, pair.student)
        self.bridges = nn.ModuleList(
            nn.Identity() if mine == theirs else nn.Conv2d(mine, theirs, 1, bias=False)
            for mine, theirs in zip(own, wanted, strict=True)
        )

    def forward(self, student: Mapping[str, Tensor], teacher: Tensor, weight_N: Tensor, progress: float) -> Tensor:
        pairs = zip(self.bridges, self.modules_of_student, strict=True)
        first, second = (bridge(student[name]) for bridge, name in pairs)
        return losses.flow_loss(losses.flow_matrix(first, second), teacher, weight_N=weight_N)


class _NeuronSelectivity(PairLoss):
    def __init__(self, pair: Pair, own: RowShape, others: RowShape) -> None:
        if not len(own) == len(others) == 3:
            raise ValueError(
                f"'{pair.student}' gives {own} and '{pair.teacher}' {others}: neuron selectivity needs maps (C, H, W)"
            )
        super().__init__(_pooled(pair.teacher, own, others), (pair.student,))
        self._name = pair.student

    def forward(self, student: Mapping[str, Tensor], teacher: Tensor, weight_N: Tensor, progress: float) -> Tensor:
        own = _on_grid(student[self._name], teacher)
        return losses.neuron_selectivity_loss(own, teacher, weight_N=weight_N)


class _Relation(PairLoss):
    """How rows stand to each other: the two sides may differ in width, but for the one form that subtracts them."""

    def __init__(self, term: FeatureTerm, pair: Pair, own: RowShape, others: RowShape) -> None:
        super().__init__(WholeTap(name=pair.teacher), (pair.student,))
        self._name = pair.student
        self._term = term
        mine, theirs = math.prod(own), math.prod(others)
        subtracts = isinstance(term, CorrelationTerm) and term.form == "code" and mine != theirs
        self.bridge = nn.Linear(mine, theirs) if subtracts else nn.Identity()

    def forward(self, student: Mapping[str, Tensor], teacher: Tensor, weight_N: Tensor, progress: float) -> Tensor:
        own_ND, others_ND = self.bridge(student[self._name].flatten(1)), teacher.flatten(1)
        return self._loss(own_ND, others_ND) * weight_N.mean()

    def _loss(self, own_ND: Tensor, others_ND: Tensor) -> Tensor:
        match self._term:
            case RelationalDistanceTerm():
                return losses.relational_distance_loss(own_ND, others_ND)
            case RelationalAngleTerm():
                return losses.relational_angle_loss(own_ND, others_ND)
            case SimilarityTerm():
                return losses.similarity_loss(own_ND, others_ND)
            case ProbabilisticTerm():
                return losses.probabilistic_transfer_loss(own_ND, others_ND)
            case CorrelationTerm(form=form):
                return losses.correlation_loss(own_ND, others_ND, form=form)
        raise AssertionError(f"no loss for {self._term.kind}")


class _Contrastive(PairLoss):
    """Both sides are projected into one space; maps are averaged over their positions first."""

    def __init__(self, term: ContrastiveTerm, pair: Pair, own: RowShape, others: RowShape) -> None:
        is_map = len(others) == 3
        super().__init__(
            PooledTap(name=pair.teacher, size=(1, 1)) if is_map else WholeTap(name=pair.teacher), (pair.student,)
        )
        self._name = pair.student
        self._term = term
        self.own = nn.Linear(_width(own) if len(own) == 3 else math.prod(own), term.dimension)
        self.others = nn.Linear(_width(others) if is_map else math.prod(others), term.dimension)

    def forward(self, student: Mapping[str, Tensor], teacher: Tensor, weight_N: Tensor, progress: float) -> Tensor:
        own = student[self._name]
        own_ND = self.own(own.mean(dim=(2, 3)) if own.dim() == 4 else own.flatten(1))
        others_ND = self.others(teacher.flatten(1))
        temperature = value_at(self._term.temperature, progress)
        cost = losses.contrastive_loss(own_ND, others_ND, temperature=temperature)
        # the loss holds its second side constant: with the sides exchanged it trains the teacher's projection, too
        exchanged = losses.contrastive_loss(others_ND, own_ND, temperature=temperature)
        return (cost + exchanged - exchanged.detach()) * weight_N.mean()


_NO_BRIDGE = "these can't be bridged; name modules that both give maps, both vectors, or tokens of one length"


def _pooled(name: str, own: RowShape, others: RowShape) -> TapSpec:
    """The teacher's feature, averaged on its own device where it has the finer grid."""
    if len(own) != 3 or len(others) != 3:
        return WholeTap(name=name)
    size = min(own[1], others[1]), min(own[2], others[2])
    return WholeTap(name=name) if size == others[1:] else PooledTap(name=name, size=size)


def _on_grid(own: Tensor, teacher: Tensor) -> Tensor:
    """The student's maps, averaged to the teacher's grid where they are finer."""
    if own.dim() != 4 or own.shape[2:] == teacher.shape[2:]:
        return own
    return functional.adaptive_avg_pool2d(own, (teacher.shape[2], teacher.shape[3]))


def _width(shape: RowShape) -> int:
    """Channels of maps (C, H, W), features of tokens (L, D) and of vectors (D,)."""
    return shape[0] if len(shape) == 3 else shape[-1]


def _is_same(term: HintTerm, width: int, wanted: int) -> bool:
    return term.regressor == "identity" or (term.regressor == "auto" and width == wanted)


def _projection(own: RowShape, wanted: int) -> nn.Module:
    return nn.Conv2d(own[0], wanted, 1) if len(own) == 3 else nn.Linear(own[-1], wanted)


def reduced(tap: TapSpec, features: Mapping[str, Tensor]) -> Tensor:
    """What ``tap`` means of the outputs (N, ...) of its modules, as it travels."""
    match tap:
        case WholeTap(name=name):
            return features[name]
        case AttentionTap(name=name, power=power):
            return losses.attention_map(features[name], power=power)
        case PooledTap(name=name, size=size):
            return functional.adaptive_avg_pool2d(features[name], size)
        case FlowTap(first=first, second=second):
            return losses.flow_matrix(features[first], features[second])
