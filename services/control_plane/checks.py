"""What can be checked of a job before anything runs: paths, members, classes, room. Each error names its field."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from distill.contracts.classes import check_top_k, difference
from distill.contracts.confined import LeavesRoot, NoPlainFile, real_path
from distill.contracts.datasets import DatasetSpec, NoLabels
from distill.contracts.ensemble import AllMembers, PerMemberHeads, SteppedMembers, Weighted
from distill.contracts.errors import InvalidSpec, NoRoom
from distill.contracts.job import JobSpec
from distill.contracts.objective import (
    FeatureTerm,
    FlowPair,
    LabelsTerm,
    Pair,
    ResponseTerm,
    ServedTarget,
    TaughtTerm,
)
from distill.contracts.schedules import extremes
from distill.contracts.teachers import MemberManifest, ResolvedTeacher, TeacherManifest
from services.control_plane.ray_rest import ClusterResources


def confine(root: Path, path: str, field: str) -> Path:
    """The existing file or folder that ``path`` means below ``root``.

    Raises:
        InvalidSpec: it leaves the root (by ``..``, a link, or as an absolute path), there is no such file, or it is a
            device or a pipe.
    """
    try:
        resolved = real_path(root, path)
    except LeavesRoot as error:
        raise InvalidSpec(
            f"{field}: {path!r} lies outside the data root",
            field=field,
            got=path,
            expected="a path relative to the data root, without leaving it",
            hint="the operator names the data root in STILLHOUSE_DATA_ROOT",
        ) from error
    except NoPlainFile as error:
        raise InvalidSpec(
            f"{field}: {path!r}: {error}", field=field, got=path, expected="a file or a folder"
        ) from error
    if not resolved.exists():
        raise InvalidSpec(
            f"{field}: there is no {path!r} in the data root",
            field=field,
            got=path,
            expected="an existing file or folder",
        )
    return resolved


def check_teachers(spec: JobSpec, teachers: Sequence[ResolvedTeacher], prefix: str) -> None:
    """See that the teachers can do what the job file asks of them: members, modules, classes. Raises InvalidSpec."""
    check_members(spec, teachers, prefix)
    check_heard(spec, teachers, prefix)
    check_taps(spec, teachers, prefix)
    check_classes(spec.dataset, [teacher.manifest for teacher in teachers], prefix)
    if teachers and spec.answers.top_k is not None:
        check_top_k(spec.answers.top_k, len(teachers[0].manifest.classes), field=f"{prefix}answers.top_k")


def check_members(spec: JobSpec, teachers: Sequence[ResolvedTeacher], prefix: str) -> None:
    """See that every member that the job file names is there.

    Raises:
        InvalidSpec: a term's target, the ensemble's members or its weights name another.
    """
    for i, term in enumerate(spec.objective):
        if isinstance(term, TaughtTerm) and isinstance(term.target, ServedTarget):
            _check_member(term.target, teachers, f"{prefix}objective.{i}.target.member")
    total = sum(len(teacher.manifest.members) for teacher in teachers)
    if not total:
        return
    if isinstance(spec.ensemble.members, SteppedMembers):
        for i, positions in enumerate(spec.ensemble.members.values):
            if max(positions) >= total:
                raise _no_such_member(
                    f"{prefix}ensemble.members.values.{i}", "all teachers together", max(positions), total
                )
    given = len(spec.ensemble.weights) if isinstance(spec.ensemble, Weighted) else total
    if given != total:
        raise InvalidSpec(
            f"{prefix}ensemble.weights: the teachers have {total} members in all, and this gives {given} weights",
            field=f"{prefix}ensemble.weights",
            got=f"{given} weights",
            expected=f"{total} weights",
        )


def check_heard(spec: JobSpec, teachers: Sequence[ResolvedTeacher], prefix: str) -> None:
    """See that every term that is taught by the pool is taught by somebody whose word counts, whoever speaks.

    Raises:
        InvalidSpec: at some moment all who speak have the weight 0, or a term means members of whom none ever speaks.
    """
    moments = list(_speaking(spec, teachers))
    _check_every_head(spec, teachers, prefix)
    _check_never_silent(spec, teachers, moments, prefix)
    weights = spec.ensemble.weights if isinstance(spec.ensemble, Weighted) else None
    everyone = [number for number, _ in enumerate(_members(teachers))]
    meant = {f"{prefix}ensemble.weights": everyone} if everyone else {}
    for i, term in enumerate(spec.objective):
        if isinstance(term, TaughtTerm) and isinstance(term.target, ServedTarget):
            meant[f"{prefix}objective.{i}.target"] = [number for number, *_ in _targeted(term.target, teachers)]
    for field, members in meant.items():
        speaking = [sorted(moment & set(members)) for moment in moments]
        if not any(speaking):
            raise InvalidSpec(
                f"{field}: it means {_called(members)}, and 'ensemble.members' never lets them speak",
                field=field,
                got=_called(members),
                hint="positions are counted over the members of all teachers, in job-file order",
            )
        for unheard in speaking:
            if weights and unheard and not any(weights[member] for member in unheard):
                raise InvalidSpec(
                    f"{field}: there are steps at which only {_called(unheard)} would be heard, with the weight 0 in "
                    "'ensemble.weights'",
                    field=field,
                    got=_called(unheard),
                    expected="a weight > 0 for somebody who speaks",
                )


def _check_never_silent(
    spec: JobSpec, teachers: Sequence[ResolvedTeacher], moments: Sequence[set[int]], prefix: str
) -> None:
    """See that no step goes by at which nobody teaches anything.

    Raises:
        InvalidSpec: the pool alone teaches, and there are steps at which none of those who speak is meant.
    """
    terms = [term for term in spec.objective if extremes(term.weight)[1] > 0]
    served = [term.target for term in terms if isinstance(term, TaughtTerm) and isinstance(term.target, ServedTarget)]
    has_labels = not isinstance(spec.dataset.labels, NoLabels)
    others = [
        term
        for term in terms
        if (has_labels if isinstance(term, LabelsTerm) else not isinstance(term.target, ServedTarget))
    ]
    if others or not served:
        return
    meant = {number for target in served for number, *_ in _targeted(target, teachers)}
    for moment in moments:
        if not moment & meant:
            raise InvalidSpec(
                f"{prefix}ensemble.members: there are steps at which only {_called(sorted(moment))} would speak, whom no "
                "term's target means: nothing would be learned",
                field=f"{prefix}ensemble.members",
                got=_called(sorted(moment)),
                expected=f"somebody of {_called(sorted(meant))} at every step",
            )


def _check_every_head(spec: JobSpec, teachers: Sequence[ResolvedTeacher], prefix: str) -> None:
    """See that each member's head is taught.

    Raises:
        InvalidSpec: the student has a head for each member, and no term on answers means some of them.
    """
    if not isinstance(spec.ensemble, PerMemberHeads):
        return
    heard = {
        number
        for term in spec.objective
        if isinstance(term, ResponseTerm) and term.at is None and extremes(term.weight)[1] > 0
        if isinstance(term.target, ServedTarget)
        for number, *_ in _targeted(term.target, teachers)
    }
    silent = [number for number, _ in enumerate(_members(teachers)) if number not in heard]
    if silent:
        raise InvalidSpec(
            f"{prefix}ensemble: the heads of {_called(silent)} would stay as they were drawn, as no term on answers means "
            "them; drop the 'target' of one, or combine otherwise",
            field=f"{prefix}ensemble.combine",
            got=_called(silent),
        )


def _speaking(spec: JobSpec, teachers: Sequence[ResolvedTeacher]) -> Iterator[set[int]]:
    """Each set of members that may speak at the same step."""
    everyone = range(len(list(_members(teachers))))
    match spec.ensemble.members:
        case AllMembers():
            yield set(everyone)
        case SteppedMembers(values=values):
            yield from map(set, values)
        case _:  # one at a time, and anyone may be it
            yield from ({member} for member in everyone)


def check_taps(spec: JobSpec, teachers: Sequence[ResolvedTeacher], prefix: str) -> None:
    """See that each member that a feature term asks has the modules that its pairs name.

    Raises:
        InvalidSpec: with the names that do exist.
    """
    for i, term in enumerate(spec.objective):
        if not isinstance(term, FeatureTerm) or not isinstance(term.target, ServedTarget):
            continue
        pairs: Sequence[Pair | FlowPair] = term.pairs
        for j, pair in enumerate(pairs):
            for name in (pair.teacher,) if isinstance(pair.teacher, str) else pair.teacher:
                for _, where, member in _targeted(term.target, teachers):
                    if name not in member.taps:
                        raise _no_such_tap(f"{prefix}objective.{i}.pairs.{j}.teacher", where, name, list(member.taps))


def _targeted(target: ServedTarget, teachers: Sequence[ResolvedTeacher]) -> Iterator[tuple[int, str, MemberManifest]]:
    """Position among all members, name, and manifest, of each member that a target means."""
    for position, (teacher, number, member) in enumerate(_members(teachers)):
        if target.teacher in {None, teacher} and target.member in {None, number}:
            yield position, f"member {number} of {teachers[teacher].reference}", member


def _members(teachers: Sequence[ResolvedTeacher]) -> Iterator[tuple[int, int, MemberManifest]]:
    """Position of its teacher, position within it, and manifest, of each member of all teachers in job-file order."""
    for position, teacher in enumerate(teachers):
        for number, member in enumerate(teacher.manifest.members):
            yield position, number, member


def _called(members: Sequence[int]) -> str:
    return f"member{'s' if len(members) > 1 else ''} {', '.join(map(str, members))}"


def _no_such_tap(field: str, where: str, name: str, there: list[str]) -> InvalidSpec:
    near = difflib.get_close_matches(name, there, n=1)
    return InvalidSpec(
        f"{field}: {where} has no module '{name}'; it has: {', '.join(there)}",
        field=field,
        got=name,
        expected=f"one of {', '.join(there)}"[:500],
        hint=f"did you mean '{near[0]}'?" if near else None,
    )


def _check_member(target: ServedTarget, teachers: Sequence[ResolvedTeacher], field: str) -> None:
    if target.teacher is None or target.member is None:
        return
    teacher = teachers[target.teacher]
    if target.member >= len(teacher.manifest.members):
        raise _no_such_member(field, teacher.reference, target.member, len(teacher.manifest.members))


def _no_such_member(field: str, who: str, position: int, count: int) -> InvalidSpec:
    return InvalidSpec(
        f"{field}: {who} {'have' if ' ' in who else 'has'} {count} members, at positions 0 to {count - 1}",
        field=field,
        got=str(position),
        expected=f"0 to {count - 1}",
    )


def check_classes(data: DatasetSpec, manifests: Sequence[TeacherManifest], prefix: str) -> None:
    """Raises InvalidSpec where class lists differ by name or order, among teachers or from what the data is known to have."""
    if not manifests:
        return
    first = manifests[0]
    expected = data.known_classes or first.classes
    they = "the data" if data.known_classes else f"{first.teacher}@{first.version}"
    for i, manifest in enumerate(manifests):
        me = f"{manifest.teacher}@{manifest.version}"
        if how := difference(manifest.classes, expected, me=me, they=they):
            field = f"{prefix}teachers.{i}.name"
            raise InvalidSpec(
                f"{field}: {me} and {they} don't name the same classes: {how}",
                field=field,
                got=_some(manifest.classes),
                expected=_some(expected),
            )


def check_room(need: ClusterResources, room: ClusterResources | None, *, field: str, what: str) -> None:
    """Raises NoRoom where ``need`` can never fit on the cluster; silent while that isn't known."""
    if room is None or room.holds(need):
        return
    raise NoRoom(
        f"{field}: {what} take {need}, and the whole cluster has {room}",
        field=field,
        got=str(need),
        expected=f"at most {room}",
        hint="ask for fewer or smaller ones, or add nodes",
    )


def _some(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:12])
    return f"{len(classes)} ({shown}{', ...' if len(classes) > 12 else ''})"
