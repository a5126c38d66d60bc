"""Names of Redis keys, Ray ids and files: every one is made here, nowhere else."""

import re
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["job", "study", "teacher"]

PREFIX = "stillhouse:"


def record_key(kind: Kind, identity: str) -> str:
    """The record: one JSON string."""
    return f"{PREFIX}{kind}:{identity}"


def inbox_key(kind: Kind, identity: str) -> str:
    """Stream of facts not yet applied."""
    return f"{PREFIX}{kind}:{identity}:inbox"


def events_key(kind: Kind, identity: str) -> str:
    """Stream of what was applied, in order: the only one that followers read."""
    return f"{PREFIX}{kind}:{identity}:events"


def progress_key(job: str) -> str:
    """Bounded stream of a job's live figures."""
    return f"{PREFIX}job:{job}:progress"


def directive_key(job: str) -> str:
    """What the control plane wants of the job's workers: one JSON string."""
    return f"{PREFIX}job:{job}:directive"


def lease_key(job: str) -> str:
    """Holds the number of the attempt that lives; expires when its driver falls silent."""
    return f"{PREFIX}job:{job}:lease"


def index_key(kind: Kind) -> str:
    """Sorted set: identity by time of creation."""
    return f"{PREFIX}{kind}s"


def list_key(kind: Kind, team: str, which: str = "") -> str:
    """Sorted set of places (`services.control_plane.lists`): a team's own; ``which`` narrows it, as to a state or a label."""
    return f"{PREFIX}{kind}s:of:{team}{which and ':'}{which}"


def active_key(kind: Kind) -> str:
    """Set of identities that are not final."""
    return f"{PREFIX}{kind}s:active"


def baselines_key(team: str) -> str:
    """Hash: digest of what decides a student that labels alone teach -> the newest job that trains it."""
    return f"{PREFIX}baselines:{team}"


def answer_key(team: str, digest: str) -> str:
    """What a request with an ``Idempotency-Key`` of that digest was answered, or that it still is: one JSON string."""
    return f"{PREFIX}answer:{team}:{digest}"


def webhook_key(kind: Kind, identity: str) -> str:
    """How telling someone of its end goes (`Delivery`); expires a month after the last try."""
    return f"{PREFIX}{kind}:{identity}:webhook"


WEBHOOKS_KEY = f"{PREFIX}webhooks"
"""Sorted set: ``<kind>:<id>`` of what someone is still to be told of, by when the next try is."""

WAKE_KEY = f"{PREFIX}wake"
"""Bounded stream of (kind, identity) whose inbox has something."""

TEAM_WEIGHTS_KEY = f"{PREFIX}team-weights"
"""Hash: team -> its weight in every replica's queue; 1 where there is none."""

TEAMS_KEY = f"{PREFIX}teams"
"""Hash: team -> its `TeamRecord`; the defaults where there is none."""

TEAM_ACCOUNTS_KEY = f"{PREFIX}team-accounts"
"""The `TeamAccounts`: one JSON string; none while no team waits for room."""

RESERVATIONS_KEY = f"{PREFIX}reservations"
"""Sorted set: identity of each reservation by when it expires."""


def reservation_key(identity: str) -> str:
    """A reservation: one JSON string, which expires with it."""
    return f"{PREFIX}reservation:{identity}"


KEYS_KEY = f"{PREFIX}keys"
"""Sorted set: id of each API key by time of creation."""


def key_key(identity: str) -> str:
    """An API key, but for its secret: one JSON string."""
    return f"{PREFIX}key:{identity}"


def load_key(application: str) -> str:
    """Hash: replica -> its `ReplicaLoad`; expires when none says anything any more."""
    return f"{PREFIX}load:{application}"


def usage_key(team: str, month: str) -> str:
    """Hash: ``<name@version>|<figure of TeacherUsage>`` -> its sum in that month, such as ``2026-11``.

    So are ``students|<figure of StudentUsage>``.
    """
    return f"{PREFIX}usage:{team}:{month}"


def storage_key(month: str) -> str:
    """Hash: team -> its `StorageUsage` as last measured in that month."""
    return f"{PREFIX}storage:{month}"


def usage_writer_key(writer: str) -> str:
    """The number of a replica's newest addition to the sums above; expires a day after it."""
    return f"{PREFIX}usage-writer:{writer}"


RECONCILER_KEY = f"{PREFIX}reconciler"
"""Lease of the one control plane that acts on Ray."""

LISTED_KEY = f"{PREFIX}listed"
"""Which making of the lists above every record is in; missing, or an older one: they are made anew at start."""

PROBE_KEY = f"{PREFIX}probe"
"""Written to learn whether Redis takes writes; expires after seconds."""

DELETED_KEY = f"{PREFIX}deleted"
"""Set: ``job/<id>`` or ``study/<id>`` of what is deleted, and whose files are not yet."""

SCHEMA_KEY = f"{PREFIX}schema"
"""The schema version of everything above."""

MIGRATING_KEY = f"{PREFIX}migrating"
"""Lease of the one control plane that brings an older schema forward."""

MIGRATION_KEY = f"{PREFIX}migration"
"""Hash: the version that is being migrated to -> how far that came; gone once it is done."""

RESTORING_KEY = f"{PREFIX}restoring"
"""The digest of the backup that is being restored; gone once it is done. Nothing starts before."""

ORPHANS_KEY = f"{PREFIX}orphans"
"""Hash: folder on storage that no record knows -> since when."""

COLLECTED_KEY = f"{PREFIX}collected"
"""There for an hour after garbage was last collected, so that it happens once an hour."""


AUDIT_KEY = f"{PREFIX}audit"
"""Stream of the newest entries of the audit log, each under its number: ``entry`` is its JSON, ``hash`` its hash."""

_KINDS: tuple[Kind, ...] = ("job", "study", "teacher")

PERMANENT: tuple[str, ...] = (
    *(make(kind, "*") for kind in _KINDS for make in (record_key, inbox_key, events_key)),
    *(make("*") for make in (progress_key, directive_key)),
    *(make(kind) for kind in _KINDS for make in (index_key, active_key)),
    baselines_key("*"),
    *(usage_key("*", "*"), storage_key("*")),
    *(list_key(kind, "**") for kind in _KINDS),
    *(WAKE_KEY, TEAM_WEIGHTS_KEY, TEAMS_KEY, TEAM_ACCOUNTS_KEY, RESERVATIONS_KEY, KEYS_KEY, key_key("*"), WEBHOOKS_KEY),
    *(LISTED_KEY, DELETED_KEY, SCHEMA_KEY, MIGRATION_KEY, RESTORING_KEY, ORPHANS_KEY, AUDIT_KEY),
)
"""Forms of the keys that live until somebody removes them: every other key has a time to live.

A ``*`` stands for one part between colons, ``**`` for any number of them.
"""


def is_permanent(key: str) -> bool:
    """Whether a key may be without a time to live."""
    return any(re.fullmatch(_pattern(form), key) for form in PERMANENT)


def _pattern(form: str) -> str:
    return re.escape(form).replace(r"\*\*", ".+").replace(r"\*", "[^:]+")


def submission_id(job: str, attempt: int) -> str:
    """The Ray job of one attempt."""
    return f"{job}-{attempt}"


def check_submission_id(teacher: str, version: int) -> str:
    """The Ray job that checks a teacher's version."""
    return f"check-{teacher}-{version}"


def application(teacher: str, version: int) -> str:
    """The Serve application of a teacher's version."""
    return f"teacher-{teacher}-{version}"


DEPLOYMENT = "Teacher"
"""The deployment inside each teacher's application."""

BOOK_APPLICATION, BOOK_DEPLOYMENT = "answer-book", "AnswerBook"
"""The Serve application that remembers answers, and its deployment."""

DOOR_APPLICATION, DOOR_DEPLOYMENT = "door", "Door"
"""The Serve application that answers over HTTP, and its deployment."""

DOOR_PREFIX = "/v1/pool"
"""The path of the door behind Serve's proxy."""

ANSWERS_FOLDER = PurePosixPath("answers")
"""Below the storage root: the answer book's segments."""

BOOK_FILE = "book.json"
"""In a book's folder: what it is a book of (`distill.contracts.wire.BookKey`); its time is that of the book's last use."""


def run_folder(job: str) -> PurePosixPath:
    """Below the storage root: the folders of all attempts at a job."""
    return PurePosixPath("runs") / job


def attempt_folder(job: str, attempt: int) -> PurePosixPath:
    """Below the storage root; the only place that an attempt writes to."""
    return run_folder(job) / str(attempt)


def teacher_folder(teacher: str, version: int) -> PurePosixPath:
    """Below the storage root: ``manifest.json`` and ``member-0/``, ``member-1/``, ..."""
    return PurePosixPath("teachers") / teacher / str(version)


def report_folder(kind: Kind, identity: str) -> PurePosixPath:
    """Below the storage root: ``report.json``, ``report.md`` and plots."""
    return PurePosixPath("reports") / f"{kind}-{identity}"


AUDIT_FOLDER = PurePosixPath("audit")
"""Below the storage root: the older entries of the audit log (`services.control_plane.audit.files`)."""

LOG_FILE = "log.txt"
RESULT_FILE = "result.json"
"""In the attempt's folder."""
