"""Where a record stands in the lists that people page through, and what a listing is narrowed to: pure functions.

A list is a sorted set in which every score is 0, so that Redis orders its members by their bytes. A member is a
record's place: its moment of creation in microseconds, then its identity. Both never change; so a cursor, which is
the last place that was shown, means the same for ever, whatever comes or goes, in every list that the record is in.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from distill.contracts import names
from distill.contracts.errors import InvalidSpec
from distill.contracts.names import Kind
from distill.contracts.records import JobRecord, JobState, StudyRecord
from distill.contracts.teachers import TeacherRecord
from services.control_plane.heads import JobHead, StudyHead
from services.control_plane.registry import weights_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLACE = re.compile(r"\d{16}:[a-z0-9-]{1,64}")


@dataclass(frozen=True)
class Wanted:
    """What a listing is narrowed to; all of it must hold."""

    team: str
    state: JobState | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    teacher: str | None = None
    """Of jobs: ``name@version`` of one that they learn from."""
    created_after: datetime | None = None
    """At this moment or later."""
    created_before: datetime | None = None
    """Earlier than this moment."""

    def matches(self, record: JobHead | StudyHead, state: JobState) -> bool:
        """Whether a record in this state belongs into the listing."""
        labels = record.labels
        return (
            record.team == self.team
            and self.state in {None, state}
            and all(labels.get(key) == value for key, value in self.labels.items())
            and (self.teacher is None or (isinstance(record, JobHead) and self.teacher in record.taught_by))
            and (self.created_after is None or record.created_at >= self.created_after)
            and (self.created_before is None or record.created_at < self.created_before)
        )

    def lists(self, kind: Kind) -> list[str]:
        """The keys of the lists that hold it together; a study's state is in none, as it follows from its jobs'."""
        state = [_state_list(self.team, self.state)] if kind == "job" and self.state else []
        narrow = state + [_label_list(kind, self.team, *label) for label in self.labels.items()]
        narrow += [taught_list(self.team, self.teacher)] if self.teacher else []
        return narrow or [names.list_key(kind, self.team)]

    def bounds(self, after: str | None) -> tuple[str, str]:
        """The greatest and the least place, as ``ZREVRANGEBYLEX`` takes them; ``after``: the last that was shown."""
        ends = [end for end in (after, _moment(self.created_before)) if end is not None]
        begin = _moment(self.created_after)
        return f"({min(ends)}" if ends else "+", f"[{begin}" if begin is not None else "-"


def place_of(record: JobRecord | StudyRecord | TeacherRecord | JobHead | StudyHead) -> str:
    """Where it stands in every list that it is in."""
    return f"{_moment(record.created_at)}:{identity_of(record)}"


def identity_of(record: JobRecord | StudyRecord | TeacherRecord | JobHead | StudyHead) -> str:
    """A job's or study's id, a teacher's name."""
    return record.name if isinstance(record, TeacherRecord) else record.id


def identity_at(place: str) -> str:
    """Whose place it is."""
    return place.partition(":")[2]


def lists_of(record: JobRecord | StudyRecord | TeacherRecord) -> list[str]:
    """The keys of the lists that the record is in, each once.

    Jobs and studies are in the team's own, and in one for each label; a job also in that of its state, and in those of
    what it comes from; a teacher only in those of the jobs that its members come from.
    """
    match record:
        case JobRecord():
            return [*_own_lists("job", record), *_lists_of_origins(record), _state_list(record.team, record.state)]
        case StudyRecord():
            return _own_lists("study", record)
        case TeacherRecord():
            jobs = (member.job for version in record.versions for member in version.members)
            return [published_list(record.team, job) for job in dict.fromkeys(jobs) if job is not None]


def taught_list(team: str, teacher: str) -> str:
    """The key of the list of the team's jobs that learn from ``name@version``."""
    return names.list_key("job", team, f"taught-by:{teacher}")


def begun_list(team: str, job: str) -> str:
    """The key of the list of the team's jobs that begin from this job's weights."""
    return names.list_key("job", team, f"begins-from:{job}")


def generation_list(team: str, job: str) -> str:
    """The key of the list of the team's jobs that this job's student is the teacher of, as the generation before them."""
    return names.list_key("job", team, f"after:{job}")


def published_list(team: str, job: str) -> str:
    """The key of the list of the team's teachers that have a version of this job's student."""
    return names.list_key("teacher", team, f"made-of:{job}")


def state_lists(team: str) -> list[str]:
    """The keys of the lists of a team's jobs by state: each job is in one."""
    return [_state_list(team, state) for state in JobState]


def labels_of(record: JobRecord | StudyRecord) -> Mapping[str, str]:
    """The job file's; a study has those of its job."""
    return record.spec.labels if isinstance(record, JobRecord) else record.spec.job.labels


def encode_cursor(place: str) -> str:
    """The place as people carry it; nothing in it is promised."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The place.

    Raises:
        InvalidSpec: the cursor is not one of ours.
    """
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        place = ""
    if not PLACE.fullmatch(place):
        raise InvalidSpec(
            "the cursor is not one that this API gave", field="cursor", got=cursor, expected="`next` of the page before"
        )
    return place


def _moment(at: datetime | None) -> str | None:
    return None if at is None else f"{max(0, (at - EPOCH) // timedelta(microseconds=1)):016d}"


def _own_lists(kind: Kind, record: JobRecord | StudyRecord) -> list[str]:
    labels = labels_of(record).items()
    return [names.list_key(kind, record.team), *(_label_list(kind, record.team, *label) for label in labels)]


def _lists_of_origins(job: JobRecord) -> list[str]:
    taught = [taught_list(job.team, one) for one in dict.fromkeys(teacher.reference for teacher in job.teachers)]
    begun = [begun_list(job.team, one) for one in weights_of(job)]
    return [*taught, *begun, *([generation_list(job.team, job.after)] if job.after else [])]


def _state_list(team: str, state: JobState) -> str:
    return names.list_key("job", team, f"state:{state.value}")


def _label_list(kind: Kind, team: str, key: str, value: str) -> str:
    return names.list_key(kind, team, f"label:{key}={value}")
