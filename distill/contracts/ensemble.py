"""How the members of the teachers become one voice, and which of them speak at which moment."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from distill.contracts.base import Spec
from distill.contracts.schedules import check_moments

Position = Annotated[int, Field(ge=0)]


class AllMembers(Spec):
    """Every member, at every step."""

    kind: Literal["all"] = "all"


class SteppedMembers(Spec):
    """Some members after others: ``values[0]`` until progress ``at[0]``, then ``values[1]``, and so on."""

    kind: Literal["steps"]
    values: tuple[Annotated[tuple[Position, ...], Field(min_length=1)], ...] = Field(min_length=2, max_length=64)
    """Positions among the members of all teachers, in job-file order."""
    at: tuple[float, ...] = Field(min_length=1, max_length=63)

    @model_validator(mode="after")
    def _a_moment_between_two_values(self) -> Self:
        check_moments(self.at, len(self.values))
        if any(len(set(members)) < len(members) for members in self.values):
            raise ValueError("'values' name a member twice for the same moment")
        return self


class MembersInOrder(Spec):
    """One member after another, each for an equal share of the steps.

    With checkpoints of a teacher's own training as members the student follows its trajectory (Harutyunyan et al., 2023).
    """

    kind: Literal["in_order"]


class RandomMember(Spec):
    """One member a step, drawn by the training's seed."""

    kind: Literal["random"]


class BestMember(Spec):
    """The member that is right most often on the validation rows; asked for once, before the first step."""

    kind: Literal["best"]


MembersSpec = Annotated[
    AllMembers | SteppedMembers | MembersInOrder | RandomMember | BestMember, Field(discriminator="kind")
]


class _Ensemble(Spec):
    members: MembersSpec = AllMembers()
    """Who is asked at which step; nobody else's answers are computed or sent."""


class MeanProbability(_Ensemble):
    """The weighted mean of the members' softened probabilities."""

    combine: Literal["mean_probability"] = "mean_probability"


class MeanLogit(_Ensemble):
    """The weighted mean of the members' logits."""

    combine: Literal["mean_logit"]


class GeometricMean(_Ensemble):
    """The weighted geometric mean of the members' softened probabilities, normalised.

    The same distribution as ``mean_logit`` gives; they differ for terms that match logits themselves.
    """

    combine: Literal["geometric_mean"]


class Weighted(_Ensemble):
    """The mean of the members' softened probabilities with weights of your own."""

    combine: Literal["weighted"]
    weights: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=1, max_length=256)
    """One a member, of all teachers in job-file order; they take the place of the teachers' own weights."""

    @model_validator(mode="after")
    def _not_all_zero(self) -> Self:
        if not any(self.weights):
            raise ValueError("every weight is 0, so nobody would be heard; give one member a weight > 0")
        return self


class Entropy(_Ensemble):
    """Row by row, who is surer counts more: by one less its part of all members' entropy (EBKD, Kwon et al., 2020)."""

    combine: Literal["entropy"]


class LabelAware(_Ensemble):
    """Row by row, who is nearer to the true label counts more (CA-MKD, Zhang, Chen, Wang, 2022, arXiv:2201.00007).

    On rows without a label, and wherever the ensemble is measured, members count as their teachers' weights say.
    """

    combine: Literal["label_aware"]


class Each(_Ensemble):
    """Not combined: the student is held to each member on its own, and the losses are averaged."""

    combine: Literal["each"]


class PerMemberHeads(_Ensemble):
    """The student has a head for each member and mimics it there; its heads are aggregated as the ensemble is.

    Source: Zuchniak (2023), arXiv:2302.00444.
    """

    combine: Literal["per_member_heads"]
    aggregate: Literal["mean_probability", "mean_logit"] = "mean_probability"
    """How ensemble and student make one answer of several."""
    export: Literal["heads", "folded"] = "heads"
    """``folded``: one linear head that says the very same, which is possible for ``mean_logit``."""

    @model_validator(mode="after")
    def _every_head_learns(self) -> Self:
        if self.members.kind == "best":
            raise ValueError(
                "members: with the best member alone the other heads would stay as they were drawn; let all speak, or "
                "combine by 'mean_probability'"
            )
        return self

    @model_validator(mode="after")
    def _folding_is_exact(self) -> Self:
        if self.export == "folded" and self.aggregate != "mean_logit":
            raise ValueError(
                "export: heads fold into one only where their logits are averaged; set 'aggregate: mean_logit' "
                "or 'export: heads'"
            )
        return self


EnsembleSpec = Annotated[
    MeanProbability | MeanLogit | GeometricMean | Weighted | Entropy | LabelAware | Each | PerMemberHeads,
    Field(discriminator="combine"),
]
