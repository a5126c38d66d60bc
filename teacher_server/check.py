"""The check of a new teacher version, as a process: ``python -m teacher_server.check --teacher NAME --version N``.

It loads every member, sees that they belong together and answer with finite numbers, copies them into the version's
folder, measures them, writes the manifest, and tells the teacher's inbox: VersionChecked or VersionRejected.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from redis import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import DependencyDown, NotFound, StillhouseError
from distill.contracts.facts import VersionChecked, VersionRejected
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import TeacherManifest, TeacherRecord, TeacherVersion, TeacherVersionState
from distill.journal.client import open_redis
from distill.journal.journal import append_fact

log = logging.getLogger("teacher_server.check")

T = TypeVar("T")

NUM_TRIES = 10
PAUSE_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one version; 0 once the verdict is delivered, whatever it is, and 1 if it can't be."""
    parser = argparse.ArgumentParser(prog="python -m teacher_server.check", description=__doc__)
    parser.add_argument("--teacher", required=True, help="the teacher's name")
    parser.add_argument("--version", required=True, type=int, help="the version to check")
    given = parser.parse_args(arguments)
    settings = NodeSettings.from_environment()
    folder = settings.storage / names.teacher_folder(given.teacher, given.version)
    redis = open_redis(settings.redis_url)
    with _logging_to(folder / names.LOG_FILE):
        try:
            _deliver(redis, given.teacher, given.version, folder, settings)
        except StillhouseError as error:
            log.error("no verdict on %s@%d: %s", given.teacher, given.version, error)  # noqa: TRY400 - the text says it all
            return 1
        finally:
            redis.close()
    return 0


def reach_verdict(
    teacher: str, version: TeacherVersion, folder: Path, settings: NodeSettings
) -> VersionChecked | VersionRejected:
    """Check the version and say what came of it; a check that breaks is a rejection too, or nobody would hear of it."""
    log.info("checking %s@%d: %d members", teacher, version.version, len(version.members))
    started = time.monotonic()
    try:
        manifest = _check(teacher, version, folder, settings)
    except StillhouseError as error:
        log.info("rejected: %s", error)
        return VersionRejected(version=version.version, problem=error.problem(), at=now())
    except Exception as error:
        log.exception("the check broke")
        message = f"the check itself broke ({type(error).__name__}: {error}); its log is {folder / names.LOG_FILE}"
        return VersionRejected(version=version.version, problem=StillhouseError(message).problem(), at=now())
    seconds, pace = time.monotonic() - started, manifest.rows_per_s
    log.info("ready after %.1f s: %.0f rows/s on %s, %s", seconds, pace, manifest.device, manifest.compute)
    return VersionChecked(version=version.version, manifest=manifest, at=now())


def _deliver(redis: Redis, teacher: str, number: int, folder: Path, settings: NodeSettings) -> None:
    version = _read_version(redis, teacher, number)
    if version.state is not TeacherVersionState.CHECKING:
        log.info("%s@%d is %s already: nothing to check", teacher, number, version.state)
        return
    verdict = reach_verdict(teacher, version, folder, settings)
    _persistently(lambda: append_fact(redis, "teacher", teacher, verdict))


def _check(teacher: str, version: TeacherVersion, folder: Path, settings: NodeSettings) -> TeacherManifest:
    # here, not above: torch takes seconds to import, and a missing record needs none of it
    from teacher_server.examination import examine

    return examine(teacher, version, folder, settings)


def _read_version(redis: Redis, teacher: str, number: int) -> TeacherVersion:
    stored = _persistently(lambda: redis.get(names.record_key("teacher", teacher)))
    if stored is None:
        raise NotFound(f"there is no teacher '{teacher}'")
    record = TeacherRecord.model_validate_json(str(stored))
    for version in record.versions:
        if version.version == number:
            return version
    raise NotFound(f"teacher '{teacher}' has no version {number}")


def _persistently(act: Callable[[], T]) -> T:
    for _ in range(NUM_TRIES - 1):
        try:
            return act()
        except RedisError as error:
            log.warning("Redis doesn't answer (%s); trying again", error)
            time.sleep(PAUSE_S)
    try:
        return act()
    except RedisError as error:
        raise DependencyDown(f"Redis didn't answer in {NUM_TRIES} tries: {error}") from error


@contextmanager
def _logging_to(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    handlers: list[logging.Handler] = [logging.StreamHandler(), logging.FileHandler(file, encoding="utf-8")]
    root.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


if __name__ == "__main__":
    sys.exit(main())
