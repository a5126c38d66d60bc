"""The answer book as a replica meets it: over a Serve handle, and never waited for when it is away.

======================  =======================================================================
consulted in time       what the book says
late, broken, missing   nothing is known, everything is the asker's; away until a probe comes back
handed in, released     sent in the background, one after the other; dropped while the book is away:
                        its claims end by themselves
======================  =======================================================================
"""

import asyncio
import contextvars
import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from distill.contracts.wire import BookKey
from teacher_server.memory import Consulted, nothing_known
from teacher_server.window import Array

log = logging.getLogger(__name__)

PATIENCE_S = 0.5
"""What a window may lose to a book that is away."""
POST_PATIENCE_S = 10.0
"""What goes in the background may take longer: a book loads its pages before it keeps more."""
WAIT_S = 1.0
"""So long a book is asked to hold its answer at most: a lost one is noticed no later."""
ALIVE_S = 2.0
"""So often the book hears who still computes, and whether one that was away is back."""
MAX_POSTS = 64


class FarMemory:
    """Speaks to the one answer book of the cluster."""

    def __init__(self, replica: str, handle: Any) -> None:
        """Begin its background work in the running event loop.

        Args:
            replica: its name, before the claimant's in all that it says.
            handle: of the book's deployment.
        """
        self._replica = replica
        self._handle = handle
        self._is_away = False
        self.held: dict[str, int] = {}
        """Rows that each claimant has yet to hand in."""
        self._posts: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue(MAX_POSTS)
        self._tasks = [_start(self._send_posts()), _start(self._stay_alive())]

    async def consult(self, key: BookKey, digests: Array, *, claimant: str) -> Consulted:
        """What the book says within `PATIENCE_S`."""
        said = await self._ask(PATIENCE_S, "consult", key.model_dump_json(), digests, self._name(claimant))
        return self._hold(claimant, said, len(digests))

    async def wait(self, key: BookKey, digests: Array, *, claimant: str, timeout_s: float) -> Consulted:
        """What the book says as soon as there is news, or after `WAIT_S`."""
        held_s = min(timeout_s, WAIT_S)
        said = await self._ask(
            held_s + PATIENCE_S, "wait", key.model_dump_json(), digests, self._name(claimant), held_s
        )
        return self._hold(claimant, said, len(digests))

    def hand_in(self, key: BookKey, digests: Array, answers: Mapping[str, Array], *, claimant: str) -> None:
        """Send it soon."""
        self._let_go(claimant, len(digests))
        self._post("hand_in", key.model_dump_json(), digests, dict(answers))

    def release(self, key: BookKey, digests: Array, *, claimant: str) -> None:
        """Send it soon."""
        self._let_go(claimant, len(digests))
        self._post("release", key.model_dump_json(), digests, self._name(claimant))

    async def confirm(self, key: BookKey, edition: str) -> None:
        """Say so, if the book is there."""
        await self._ask(PATIENCE_S, "confirm", key.model_dump_json(), edition)

    async def refuse(self, key: BookKey, edition: str, why: str) -> None:
        """Say so, if the book is there; whoever meets that edition later finds out again."""
        await self._ask(PATIENCE_S, "refuse", key.model_dump_json(), edition, f"{self._replica} says: {why}")

    async def close(self) -> None:
        """End the background work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _name(self, claimant: str) -> str:
        return f"{self._replica}/{claimant}"

    def _hold(self, claimant: str, consulted: Consulted | None, num_rows: int) -> Consulted:
        if consulted is None:
            return nothing_known(num_rows)
        if num_mine := int(consulted.mine_N.sum()):
            self.held[claimant] = self.held.get(claimant, 0) + num_mine
        return consulted

    def _let_go(self, claimant: str, num_rows: int) -> None:
        left = self.held.pop(claimant, 0) - num_rows
        if left > 0:
            self.held[claimant] = left

    async def _ask(self, patience_s: float, method: str, *arguments: Any) -> Any:
        """The book's reply, None if it is away."""
        return None if self._is_away else await self._call(patience_s, method, *arguments)

    async def _call(self, patience_s: float, method: str, *arguments: Any) -> Any:
        try:
            response = getattr(self._handle, method).remote(*arguments)
            try:
                async with asyncio.timeout(patience_s):
                    reply = await response
            except (TimeoutError, asyncio.CancelledError):
                # else it waits for a book that isn't there for ever
                response.cancel()
                raise
        except TimeoutError:
            return self._not_heard(f"no answer to '{method}' in {patience_s:g} s")
        except RayTaskError:
            log.exception("the answer book didn't take what was said in '%s'", method)
            return None
        except (RayError, RayServeException) as error:
            return self._not_heard(f"{type(error).__name__}: {error}")
        if self._is_away:
            self._is_away = False
            log.warning("the answer book is back")
        return reply

    def _not_heard(self, why: str) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("the answer book is away, everything is computed until it is back: %s", why)

    def _post(self, *message: Any) -> None:
        if self._is_away:
            return
        try:
            self._posts.put_nowait(message)
        except asyncio.QueueFull:
            log.warning("the answer book is too slow: what should be %s is dropped", message[0])

    async def _send_posts(self) -> None:
        while True:
            await self._ask(POST_PATIENCE_S, *await self._posts.get())

    async def _stay_alive(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_S)
            if self.held or self._is_away:
                await self._call(PATIENCE_S, "alive", [self._name(claimant) for claimant in self.held])


def _start(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """In a context of its own: what is sent for a window must go out even where the window's request was cancelled."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())
