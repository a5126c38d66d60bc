"""Losses on features position by position: hints, and where a network looks.

Shapes: N rows, C channels, H and W positions of a map, L positions of a sequence, D channels of each position.
Half-precision input is computed in float32; float64 stays float64.
"""

from typing import Literal

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional

from distill.science.losses.checks import check_same_rows, check_same_shape
from distill.science.losses.precision import at_least_float32, both_sides
from distill.science.losses.rows import mean_over_rows, unit_rows


def hint_loss(student: Tensor, teacher: Tensor, *, weight_N: Tensor | None = None) -> Tensor:
    """Mean squared difference of features, over all their numbers.

    Args:
        student: (N, ...), behind the regressor where there is one, any float dtype; gradients flow.
        teacher: of the same shape; constants.
        weight_N: how much each row counts, (N,); left out: 1.

    Returns:
        Scalar float32, in squared units of the feature.

    Raises:
        ValueError: the shapes differ.

    Source:
        Romero et al. (2015), FitNets, arXiv:1412.6550, equation 3, which is half the sum over a row's numbers. Public
        implementations take the mean, as we do, so that the weight doesn't depend on the size of the layer.
    """
    check_same_shape(student, teacher)
    student, teacher = both_sides(student, teacher)
    return mean_over_rows((student - teacher).square(), weight_N)


def attention_map(features: Tensor, *, power: float = 2.0) -> Tensor:
    """Where a network looks: the mean over channels of ``|a| ** power``, at each position. Not yet of unit length.

    It is all that `attention_loss` needs, C times smaller than the features: what a teacher sends.

    Args:
        features: maps (N, C, H, W), or sequences (N, L, D), any float dtype; gradients flow if they do in it.
        power: p > 0; the greater, the more the strongest channels count.

    Returns:
        (N, H, W), or (N, L), at least float32.

    Raises:
        ValueError: neither maps nor sequences, or the power is not positive.

    Source:
        Zagoruyko, Komodakis (2017), arXiv:1612.03928, section 3.1: their sum over channels, divided by C, which makes
        no difference once maps are of unit length.
    """
    if features.dim() not in (3, 4):
        raise ValueError(f"features must be (N, C, H, W) or (N, L, D), not {tuple(features.shape)}")
    if not power > 0:
        raise ValueError(f"power must be positive, not {power}")
    zero = features == 0  # their derivative is infinite where p < 1, and none there is wanted
    magnitude = at_least_float32(features).abs().masked_fill(zero, 1.0)
    return magnitude.pow(power).masked_fill(zero, 0.0).mean(dim=1 if features.dim() == 4 else 2)


def attention_loss(
    student_map: Tensor,
    teacher_map: Tensor,
    *,
    form: Literal["code", "paper"] = "code",
    weight_N: Tensor | None = None,
) -> Tensor:
    """Difference of attention maps, each divided by its L2 norm.

    Args:
        student_map: as `attention_map` returns it, (N, H, W) or (N, L), any float dtype; gradients flow.
        teacher_map: the same of the teacher; constants. Of two (N, H, W) of different sizes, the larger is averaged
            down to the smaller.
        form: ``code``: the mean squared difference over rows and positions; ``paper``: the norm of a row's
            difference, mean over rows. A map of zeros stays zeros.
        weight_N: how much each row counts, (N,); left out: 1.

    Returns:
        Scalar float32, dimensionless; ``paper`` in [0, sqrt 2], ``code`` in [0, 2 / positions].

    Raises:
        ValueError: the rows differ, or the number of positions of sequences; or the form has no such name.

    Source:
        Zagoruyko, Komodakis (2017), arXiv:1612.03928, equation 2, which sums over rows and adds weight beta / 2: the
        ``paper`` form takes the mean over rows as torchdistill's ATLoss does. The ``code`` form is of the authors'
        program, RepDistiller and torchdistill: for one row, the square of the other divided by the positions.
        They average features before the map is made; we average the map, which is what was sent.
    """
    if form not in ("code", "paper"):
        raise ValueError(f"form must be 'code' or 'paper', not {form!r}")
    check_same_rows(student_map, teacher_map)
    student_map, teacher_map = _same_size(*both_sides(student_map, teacher_map))
    student_NP, teacher_NP = student_map.flatten(1), teacher_map.flatten(1)
    check_same_shape(student_NP, teacher_NP)
    difference_NP = unit_rows(student_NP) - unit_rows(teacher_NP)
    if form == "code":
        return mean_over_rows(difference_NP.square(), weight_N)
    return mean_over_rows(vector_norm(difference_NP, dim=1, keepdim=True), weight_N)


def _same_size(first_NHW: Tensor, second_NHW: Tensor) -> tuple[Tensor, Tensor]:
    """Both averaged down to the smaller height and width, where both have one."""
    if first_NHW.dim() != 3 or second_NHW.dim() != 3:
        return first_NHW, second_NHW
    height, width = (min(sizes) for sizes in zip(first_NHW.shape[1:], second_NHW.shape[1:], strict=True))
    return (
        functional.adaptive_avg_pool2d(first_NHW, (height, width)),
        functional.adaptive_avg_pool2d(second_NHW, (height, width)),
    )
