"""What the student minimises: a weighted sum of terms, each with its target.

Weights and temperatures may change over the training. Formulas, sources and defaults: `distill.science.losses`.
"""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from distill.contracts.base import Spec
from distill.contracts.schedules import Temperature, Weight

Tap = Annotated[str, Field(min_length=1, max_length=200)]
"""The dotted name of a module, such as ``stages.1``."""


class _Target(Spec):
    model_config = ConfigDict(populate_by_name=True)


class ServedTarget(_Target):
    """The pool's answer: the ensemble, or one teacher or member of it."""

    source: Literal["served"] = Field(default="served", alias="from")
    teacher: int | None = Field(default=None, ge=0)
    """Position in ``teachers``; left out: all of them."""
    member: int | None = Field(default=None, ge=0)
    """Position among that teacher's members; left out: all of them."""

    @model_validator(mode="after")
    def _member_of_a_teacher(self) -> Self:
        if self.member is not None and self.teacher is None:
            raise ValueError("'member' needs 'teacher': the position of the teacher that it belongs to")
        return self


class PeersTarget(_Target):
    """The other peers, each on its own (scheme ``online``)."""

    source: Literal["peers"] = Field(alias="from")


class FusedTarget(_Target):
    """The head on the peers' joined features (scheme ``online`` with ``fusion``)."""

    source: Literal["fused"] = Field(alias="from")


class SelfTarget(_Target):
    """The student's own last word on the same rows, held fixed (scheme ``self``): for terms ``at`` an earlier layer."""

    source: Literal["self"] = Field(alias="from")


class AverageTarget(_Target):
    """The moving average of the student (scheme ``self`` with ``average``)."""

    source: Literal["average"] = Field(alias="from")


class ViewTarget(_Target):
    """The student on the transformed images, its features transformed back (scheme ``self`` with ``view``)."""

    source: Literal["view"] = Field(alias="from")


Target = Annotated[
    ServedTarget | PeersTarget | FusedTarget | SelfTarget | AverageTarget | ViewTarget, Field(discriminator="source")
]


class _Term(Spec):
    weight: Weight = 1.0


class LabelsTerm(_Term):
    """Cross-entropy with the true labels, mean over the labelled rows of the step; no labels, no term."""

    kind: Literal["labels"]
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    at: Tap | None = None
    """Learned by a head of its own at this module of the student, which is left out of the export (deep supervision)."""


class _ResponseTerm(_Term):
    target: Target = ServedTarget()
    at: Tap | None = None
    """Learned by a head of its own at this module of the student, which is left out of the export (deep supervision)."""


class SoftTargetsTerm(_ResponseTerm):
    """KL(teacher || student) of softened distributions, times T squared (Hinton, Vinyals, Dean, 2015)."""

    kind: Literal["soft_targets"]
    temperature: Temperature = 4.0
    """Divides logits on both sides; 1.0 leaves them as they are."""
    standardise: bool = False
    """Bring each row's logits to mean 0 and deviation 1 first, on both sides (Sun et al., 2024)."""


class ReverseKlTerm(_ResponseTerm):
    """KL(student || teacher) of softened distributions, times T squared."""

    kind: Literal["reverse_kl"]
    temperature: Temperature = 1.0


class JensenShannonTerm(_ResponseTerm):
    """Generalised Jensen-Shannon divergence, times T squared; beta 0 is forward KL, 1 is reverse KL (Agarwal et al., 2024)."""

    kind: Literal["jensen_shannon"]
    temperature: Temperature = 1.0
    beta: float = Field(default=0.5, ge=0, le=1)


class SkewedKlTerm(_ResponseTerm):
    """KL(teacher || alpha teacher + (1 - alpha) student), times T squared (Ko et al., 2024)."""

    kind: Literal["skewed_kl"]
    temperature: Temperature = 1.0
    alpha: float = Field(default=0.1, ge=0, lt=1)


class TotalVariationTerm(_ResponseTerm):
    """Half the sum of absolute differences of softened probabilities (Wen et al., 2023)."""

    kind: Literal["total_variation"]
    temperature: Temperature = 1.0


class LogitsTerm(_ResponseTerm):
    """Mean squared difference of logits (Ba, Caruana, 2014)."""

    kind: Literal["logits"]


class DecoupledTerm(_ResponseTerm):
    """Decoupled knowledge distillation: target class and other classes on their own (Zhao et al., 2022).

    A row without a label takes the teacher's likeliest class for its target class.
    """

    kind: Literal["decoupled"]
    temperature: Temperature = 4.0
    alpha: float = Field(default=1.0, ge=0)
    """Of the target class against all others."""
    beta: float = Field(default=8.0, ge=0)
    """Of the other classes among each other."""

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not self.alpha and not self.beta:
            raise ValueError("'alpha' and 'beta' are both 0, so nothing would be learned; give one of them a value > 0")
        return self


class DistTerm(_ResponseTerm):
    """One minus correlation, within rows and within classes (Huang et al., 2022)."""

    kind: Literal["dist"]
    temperature: Temperature = 1.0
    inter: float = Field(default=1.0, ge=0)
    """Of the classes of each row."""
    intra: float = Field(default=1.0, ge=0)
    """Of the rows of each class."""

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not self.inter and not self.intra:
            raise ValueError(
                "'inter' and 'intra' are both 0, so nothing would be learned; give one of them a value > 0"
            )
        return self


class Pair(Spec):
    """A module of the student, and the one of the teacher that it is held to."""

    student: Tap
    teacher: Tap


class FlowPair(Spec):
    """Two modules of the student, and the two of the teacher whose flow theirs is held to."""

    student: tuple[Tap, Tap]
    teacher: tuple[Tap, Tap]


Pairs = Annotated[tuple[Pair, ...], Field(min_length=1, max_length=32)]


class _FeatureTerm(_Term):
    target: Target = ServedTarget()
    pairs: Pairs
    """The mean over pairs, and over the target's members, each of which must have the module."""


class HintTerm(_FeatureTerm):
    """Mean squared difference of features, the student's behind a trained regressor (FitNets, Romero et al., 2015)."""

    kind: Literal["hint"]
    regressor: Literal["auto", "projection", "identity"] = "auto"
    """``projection``: a 1 x 1 convolution for maps, linear for vectors; ``auto``: only where the sizes differ."""


class AttentionTerm(_FeatureTerm):
    """Difference of the maps that show where a network looks (Zagoruyko, Komodakis, 2017)."""

    kind: Literal["attention"]
    form: Literal["code", "paper"] = "code"
    """``code``: mean squared difference, as the authors' program has it (weights near 1000 are usual);
    ``paper``: norm of the difference, as their equation 2 has it."""
    power: float = Field(default=2.0, gt=0)


class FlowTerm(_Term):
    """Difference of the flow between two layers: inner products of their channels (FSP, Yim et al., 2017)."""

    kind: Literal["flow"]
    target: Target = ServedTarget()
    pairs: tuple[FlowPair, ...] = Field(min_length=1, max_length=32)


class NeuronSelectivityTerm(_FeatureTerm):
    """Maximum mean discrepancy of channels' activation patterns (Huang, Wang, 2017)."""

    kind: Literal["neuron_selectivity"]


class RelationalDistanceTerm(_FeatureTerm):
    """Distances between the rows of a step (RKD-D, Park et al., 2019)."""

    kind: Literal["relational_distance"]


class RelationalAngleTerm(_FeatureTerm):
    """Angles between the rows of a step (RKD-A, Park et al., 2019)."""

    kind: Literal["relational_angle"]


class SimilarityTerm(_FeatureTerm):
    """Similarities between the rows of a step (Tung, Mori, 2019)."""

    kind: Literal["similarity_preserving"]


class CorrelationTerm(_FeatureTerm):
    """Correlations between the rows of a step (Peng et al., 2019)."""

    kind: Literal["correlation"]
    form: Literal["paper", "code"] = "paper"
    """``paper``: Gaussian kernel matrices; ``code``: products of neighbouring rows' differences, as RepDistiller has it."""


class ProbabilisticTerm(_FeatureTerm):
    """Each row's neighbours as a probability (PKT, Passalis, Tefas, 2018)."""

    kind: Literal["probabilistic_transfer"]


class ContrastiveTerm(_FeatureTerm):
    """Contrastive representation distillation in its in-batch form, without a memory (after Tian et al., 2020)."""

    kind: Literal["contrastive"]
    temperature: Temperature = 0.1
    dimension: int = Field(default=128, ge=1, le=4096)
    """Of the space in which both are compared."""


ResponseTerm = (
    SoftTargetsTerm | ReverseKlTerm | JensenShannonTerm | SkewedKlTerm | TotalVariationTerm | LogitsTerm
    | DecoupledTerm | DistTerm
)  # fmt: skip
FeatureTerm = (
    HintTerm | AttentionTerm | FlowTerm | NeuronSelectivityTerm | RelationalDistanceTerm | RelationalAngleTerm
    | SimilarityTerm | CorrelationTerm | ProbabilisticTerm | ContrastiveTerm
)  # fmt: skip
TaughtTerm = ResponseTerm | FeatureTerm

Term = Annotated[LabelsTerm | ResponseTerm | FeatureTerm, Field(discriminator="kind")]
