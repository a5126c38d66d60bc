"""What every loss asks of its arguments, said where it isn't so."""

from torch import Tensor


def check_logits(student_NC: Tensor, teacher_NC: Tensor) -> None:
    """Raises ValueError unless both are (N, C)."""
    if student_NC.shape != teacher_NC.shape or student_NC.dim() != 2:
        raise ValueError(
            f"student {tuple(student_NC.shape)} and teacher {tuple(teacher_NC.shape)} must both be (N, C): "
            "they answer for the same rows and the same classes"
        )


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless it is a positive, finite number."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, not {temperature}")


def check_share(name: str, share: float) -> None:
    """Raises ValueError unless it is in [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must be in [0, 1], not {share}")


def check_same_shape(student: Tensor, teacher: Tensor) -> None:
    """Raises ValueError unless both are (N, ...) of one shape."""
    if student.shape != teacher.shape or student.dim() < 2:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must be (N, ...) of the same shape"
        )


def check_same_rows(student: Tensor, teacher: Tensor) -> None:
    """Raises ValueError unless both are (N, ...) with the same N."""
    if min(student.dim(), teacher.dim()) < 2 or student.shape[0] != teacher.shape[0]:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must be (N, ...) of the same N rows"
        )


def check_labels(student_NC: Tensor, labels_N: Tensor) -> None:
    """Raises ValueError unless they are (N, C) and (N,)."""
    if labels_N.shape != student_NC.shape[:1] or student_NC.dim() != 2:
        raise ValueError(f"labels {tuple(labels_N.shape)} don't fit logits {tuple(student_NC.shape)}")
