"""One attempt without a student: a real process with the real journal, lease and directive watch, and nothing to learn.

It says an epoch every few milliseconds, and writes each into its own folder. Its exit code tells why it ended. Where it is
told to finish, it does so after the epochs of its job file, as the label ``ends`` says: well, or with an error's code.
"""

import argparse
import math
import resource
import signal
import sys
import threading
import time
from pathlib import Path

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import AttemptSuperseded, DependencyDown, Interrupted, Problem, errors_by_code
from distill.contracts.facts import AttemptEnded, CheckpointSaved, EpochEnded, PhaseReached
from distill.contracts.records import CheckpointRef, JobRecord, Outcome, Phase, Wish
from distill.journal import watch
from distill.journal.client import open_redis
from distill.journal.journal import Journal

SUPERSEDED = 3
STEP_S = 0.05


def run(arguments: list[str]) -> None:
    """Work until told otherwise, and exit."""
    sys.exit(_main(arguments))


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", required=True)
    for name, kind in (("job", str), ("attempt", int), ("storage", Path), ("max-offline-s", float), ("lease-s", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--stubborn", action="store_true", help="pays no heed to its directive")
    parser.add_argument("--lingers", action="store_true", help="doesn't leave after its last word")
    parser.add_argument("--finishes", action="store_true", help="has an end by itself")
    parser.add_argument("--step-s", type=float, default=STEP_S, help="of an epoch")
    parser.add_argument("--disk-bytes", type=int, default=None, help="no file may be larger")
    known = parser.parse_args(arguments)
    watch.POLL_S, watch.LEASE_S = known.step_s, known.lease_s
    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    if known.disk_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (known.disk_bytes, known.disk_bytes))
    redis = open_redis(known.redis)
    try:
        record = watch.read_record(redis, known.job)
        with (
            Journal(
                redis, known.job, attempt=known.attempt, writer="rank-0", max_offline_s=known.max_offline_s
            ) as journal,
            watch.DirectiveWatch(
                redis, known.job, attempt=known.attempt, keep_lease=True, max_offline_s=known.max_offline_s
            ) as directive,
        ):
            journal.append(PhaseReached(attempt=known.attempt, at=now(), phase=Phase.WORKERS_READY))
            outcome, problem = work(known, record, journal, directive, interrupted)
            journal.append(AttemptEnded(attempt=known.attempt, at=now(), outcome=outcome, problem=problem))
            journal.flush(30)
            while known.lingers and not interrupted.is_set():
                time.sleep(STEP_S)
    except AttemptSuperseded as error:
        print(error, file=sys.stderr)
        return SUPERSEDED
    return 0


def work(
    known: argparse.Namespace,
    record: JobRecord,
    journal: Journal,
    directive: watch.DirectiveWatch,
    interrupted: threading.Event,
) -> tuple[Outcome, Problem | None]:
    """Epochs until something ends them."""
    epoch, last = len(record.epochs), record.spec.training.epochs if known.finishes else math.inf
    folder = known.storage / names.attempt_folder(known.job, known.attempt)
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        wish = directive.wish
        if interrupted.is_set():
            ends = {Wish.RUN: Outcome.FAILED, Wish.PAUSE: Outcome.PAUSED, Wish.CANCEL: Outcome.CANCELLED}
            return ends[wish], Interrupted("by SIGINT").problem() if wish is Wish.RUN else None
        if wish is not Wish.RUN and not known.stubborn:
            return (Outcome.PAUSED if wish is Wish.PAUSE else Outcome.CANCELLED), None
        if epoch >= last:
            return how_it_ends(record)
        epoch += 1
        try:
            with (folder / "epochs.txt").open("a") as file:
                file.write(f"{epoch}\n")
        except OSError as error:
            return Outcome.FAILED, DependencyDown(f"the storage takes no more: {error.strerror}").problem()
        journal.append(EpochEnded(attempt=known.attempt, at=now(), epoch=epoch, metrics={}))
        checkpoint = CheckpointRef(
            path=str(names.attempt_folder(known.job, known.attempt)), digest="sha256:" + "0" * 64, epoch=epoch,
            step=epoch, attempt=known.attempt,
        )  # fmt: skip
        journal.append(CheckpointSaved(attempt=known.attempt, at=now(), checkpoint=checkpoint))
        time.sleep(known.step_s)


def how_it_ends(record: JobRecord) -> tuple[Outcome, Problem | None]:
    """As the job's label ``ends`` has it."""
    code = record.spec.labels.get("ends")
    if code is None:
        return Outcome.FINISHED, None
    return Outcome.FAILED, errors_by_code()[code]("as its label wants it").problem()
