"""The Serve application of the answer book; a Serve configuration names it ``teacher_server.book.app:build``."""

import asyncio
import os
from functools import lru_cache
from typing import Any

from ray import serve

from distill.contracts.names import ANSWERS_FOLDER, BOOK_DEPLOYMENT
from distill.contracts.settings import NodeSettings
from distill.contracts.wire import BookKey
from teacher_server.book.book import AnswerBook
from teacher_server.book.shelf import Shelf
from teacher_server.memory import Consulted
from teacher_server.window import Array


class BookReplica:
    """The one process that remembers; books are named by their key as JSON."""

    def __init__(self) -> None:
        settings = NodeSettings.from_environment()
        shelf = Shelf(settings.storage / ANSWERS_FOLDER, max_bytes=settings.answers_disk_bytes)
        self._book = AnswerBook(shelf, max_bytes=settings.answers_memory_bytes)
        self._keeping = asyncio.get_running_loop().create_task(self._book.keep())

    async def consult(self, key: str, digests: Array, claimant: str) -> Consulted:
        """`AnswerBook.consult`."""
        return await self._book.consult(_key(key), digests, claimant=claimant)

    async def wait(
        self,
        key: str,
        digests: Array,
        claimant: str,
        timeout_s: float,
    ) -> Consulted:
        """`AnswerBook.wait`."""
        return await self._book.wait(_key(key), digests, claimant=claimant, timeout_s=timeout_s)

    async def hand_in(self, key: str, digests: Array, answers: dict[str, Array]) -> None:
        """`AnswerBook.hand_in`."""
        await self._book.hand_in(_key(key), digests, answers)

    async def release(self, key: str, digests: Array, claimant: str) -> None:
        """`AnswerBook.release`."""
        await self._book.release(_key(key), digests, claimant=claimant)

    async def alive(self, claimants: list[str]) -> None:
        """`AnswerBook.alive`."""
        self._book.alive(claimants)

    async def confirm(self, key: str, edition: str) -> None:
        """`AnswerBook.confirm`."""
        await self._book.confirm(_key(key), edition)

    async def refuse(self, key: str, edition: str, why: str) -> None:
        """`AnswerBook.refuse`."""
        await self._book.refuse(_key(key), edition, why)

    async def recall(self, key: str, digests: Array) -> Consulted:
        """`AnswerBook.recall`."""
        return self._book.recall(_key(key), digests)

    async def describe(self) -> dict[str, Any]:
        """What is in memory: ``books``, ``rows``, ``bytes``; and ``pid``."""
        return {**self._book.describe(), "pid": os.getpid()}

    async def check_health(self) -> None:
        """Serve asks each second, and replaces this replica once it raises."""
        if self._keeping.done():
            raise RuntimeError("nobody saves the book any more") from self._keeping.exception()

    def __del__(self) -> None:
        """Serve calls this in the event loop's thread when it ends a replica in order: nothing is lost then."""
        self._book.close()


def build(args: dict[str, Any]) -> serve.Application:
    """The application; it takes no arguments, but Serve hands some over all the same.

    Raises:
        ValueError: there are arguments.
    """
    if args:
        raise ValueError(f"the answer book takes no arguments, got {sorted(args)}: its bounds are settings of the node")
    deployment = serve.deployment(
        BookReplica,
        name=BOOK_DEPLOYMENT,
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        # whoever waits for another's rows is a request too, and must not keep those from being handed in
        max_ongoing_requests=1024,
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=10,
    )
    return deployment.bind()


@lru_cache(maxsize=4096)
def _key(key: str) -> BookKey:
    return BookKey.model_validate_json(key)
