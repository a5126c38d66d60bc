"""Several teachers asked as one ensemble: what must hold before anybody is asked."""

from collections.abc import Sequence

from distill.contracts.classes import check_top_k
from distill.contracts.errors import InvalidSpec
from distill.contracts.job import AnswersSpec
from distill.contracts.taps import MemberTap
from distill.contracts.teachers import ResolvedTeacher


def check_together(teachers: Sequence[ResolvedTeacher], taps: Sequence[MemberTap], answers: AnswersSpec) -> None:
    """See that the teachers name the same classes, and that what is asked of them is there to be given.

    Raises:
        InvalidSpec: no teachers, class lists that differ, as many top classes as there are, or a tap that its member can't
            give.
    """
    if not teachers:
        raise InvalidSpec("a pool needs at least one teacher", field="teachers")
    first = teachers[0]
    for other in teachers[1:]:
        if other.manifest.classes != first.manifest.classes:
            raise InvalidSpec(
                f"{other.reference} and {first.reference} don't name the same classes in the same order",
                field="teachers",
                expected=", ".join(first.manifest.classes),
                got=", ".join(other.manifest.classes),
            )
    if answers.top_k is not None:
        check_top_k(answers.top_k, len(first.manifest.classes))
    members = [member for teacher in teachers for member in teacher.manifest.members]
    for asked in taps:
        if asked.member >= len(members):
            raise InvalidSpec(
                f"a tap of member {asked.member} is asked, and there are {len(members)}", field="objective"
            )
        try:
            asked.tap.row_shape(members[asked.member].taps)
        except (KeyError, ValueError) as error:
            raise InvalidSpec(f"member {asked.member} can't give {asked.tap}: {error}", field="objective") from error
