"""What the control plane wants of this attempt: polled each second, with the attempt's heartbeat."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Self

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.errors import AttemptSuperseded
from distill.contracts.records import Directive, JobRecord, Wish

log = logging.getLogger(__name__)

POLL_S = 1.0
LEASE_S = 15.0

BEAT = """
-- Read the directive, and prolong the lease if the directive is this attempt's: a stale one never takes a newer one's.
-- What keeps Redis from writing (no memory, read-only) doesn't keep the directive from being read.
-- KEYS: directive, lease; ARGV: attempt, milliseconds
local stored = redis.call('GET', KEYS[1])
if stored and cjson.decode(stored).attempt == tonumber(ARGV[1]) then
  redis.pcall('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
return stored
"""

GIVE_BACK = """
-- Delete the lease, if it is this attempt's. KEYS: lease; ARGV: attempt
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


def read_record(redis: Redis, job: str) -> JobRecord:
    """The job's record.

    Raises:
        AttemptSuperseded: the job is gone.
    """
    stored = redis.get(names.record_key("job", job))
    if stored is None:
        raise AttemptSuperseded(f"job {job} has no record: it was deleted")
    return JobRecord.model_validate_json(str(stored))


class DirectiveWatch:
    """Follows the directive of one attempt; renews its lease too where ``keep_lease`` says so (the driver's part)."""

    def __init__(
        self,
        redis: Redis,
        job: str,
        *,
        attempt: int,
        keep_lease: bool,
        max_offline_s: float = 600,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._redis = redis
        self._job = job
        self._attempt = attempt
        self._keep_lease = keep_lease
        self._max_offline_s = max_offline_s
        self._on_change = on_change
        self._wish = Wish.RUN
        self._checkpoint: str | None = None
        self._superseded = False
        self._last_answer = time.monotonic()
        self._stop = threading.Event()
        self._poll()
        self._thread = threading.Thread(target=self._poll_for_ever, name="directive-watch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def wish(self) -> Wish:
        """What this attempt should do.

        Raises:
            AttemptSuperseded: a newer attempt has taken over, the job is gone, or Redis was silent for too long.
        """
        if (why := self._why_superseded()) is not None:
            raise AttemptSuperseded(why)
        return self._wish

    @property
    def is_superseded(self) -> bool:
        """Whether this attempt counts no longer, as far as is known: then `wish` raises."""
        return self._why_superseded() is not None

    @property
    def checkpoint(self) -> str | None:
        """Path of the checkpoint that the record named when it was last read: a new attempt would start from it."""
        return self._checkpoint

    def close(self) -> None:
        """Stop polling, and give the lease back."""
        self._stop.set()
        self._thread.join(timeout=10)
        if self._keep_lease:
            try:
                self._redis.eval(GIVE_BACK, 1, names.lease_key(self._job), self._attempt)
            except RedisError as error:
                log.warning("the lease of %s will expire by itself: %s", self._job, error)

    def _why_superseded(self) -> str | None:
        if self._superseded:
            return f"attempt {self._attempt} of {self._job} is no longer the one that counts"
        silent_s = time.monotonic() - self._last_answer
        if silent_s > self._max_offline_s:
            return f"Redis was silent for {silent_s:.0f} s: another attempt may have taken over"
        return None

    def _poll_for_ever(self) -> None:
        while not self._stop.wait(POLL_S):
            self._poll()

    def _poll(self) -> None:
        before = (self._wish, self._superseded)
        try:
            stored = self._read()
            directive = None if stored is None else Directive.model_validate_json(str(stored))
        except (RedisError, ValidationError) as error:  # what a newer control plane says in its own way is as silence
            log.warning("the directive of %s can't be read: %s", self._job, error)
            return
        self._last_answer = time.monotonic()
        if directive is None or directive.attempt != self._attempt:
            self._superseded = True
        else:
            self._wish, self._checkpoint = directive.wish, directive.checkpoint
        if self._on_change is not None and before != (self._wish, self._superseded):
            self._on_change()

    def _read(self) -> object:
        directive, lease = names.directive_key(self._job), names.lease_key(self._job)
        if not self._keep_lease:
            return self._redis.get(directive)
        return self._redis.eval(BEAT, 2, directive, lease, self._attempt, int(LEASE_S * 1000))
