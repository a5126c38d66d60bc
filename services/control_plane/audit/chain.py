"""The chain: how entries are sealed one to the other, and how a change of what was sealed is found. Pure functions."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from distill.contracts.audit import Entry
from distill.contracts.errors import InvalidSpec

LINE = re.compile(r'(\{.*),"hash":"(sha256:[0-9a-f]{64})"\}')
NOTED = re.compile(r"([0-9]{1,15}):(sha256:[0-9a-f]{64})")


class Head(NamedTuple):
    """An entry's number and hash: what the next one follows on."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


START = Head(0, "")
"""What the first entry follows on."""


class Link(NamedTuple):
    """An entry as it is kept."""

    number: int
    """By the place where it is kept."""
    text: str
    """Its canonical JSON."""
    hash: str

    @property
    def head(self) -> Head:
        """What follows on it is sealed with this."""
        return Head(self.number, self.hash)


def seal(entries: Sequence[Entry], head: Head) -> list[Link]:
    """The entries, numbered and chained one to the other, the first to ``head``."""
    links: list[Link] = []
    for entry in entries:
        number = head.number + 1
        content = entry.model_copy(update={"number": number}).model_dump(mode="json", exclude_none=True)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        links.append(Link(number, text, hash_after(head.hash, text)))
        head = links[-1].head
    return links


def hash_after(previous: str, text: str) -> str:
    """The hash of the entry whose JSON is ``text``, after one with the hash ``previous``."""
    return f"sha256:{hashlib.sha256((previous + text).encode(errors='surrogateescape')).hexdigest()}"


def to_line(link: Link) -> str:
    """The entry's JSON with its hash in it: how files and answers have it."""
    return f'{link.text[:-1]},"hash":"{link.hash}"}}'


def of_line(number: int, line: str) -> Link:
    """The entry in that place; one that was changed may have no hash."""
    found = LINE.fullmatch(line)
    return Link(number, line, "") if found is None else Link(number, found[1] + "}", found[2])


def head_of(noted: str) -> Head:
    """What a person wrote down. Raises InvalidSpec."""
    found = NOTED.fullmatch(noted)
    if found is None:
        raise InvalidSpec(
            f"{noted!r} is not what a verification calls the head of the log",
            field="noted", got=noted, expected="a number and a hash, such as 1234:sha256:5f...",
        )  # fmt: skip
    return Head(int(found[1]), found[2])


class Fault(NamedTuple):
    """The first place where the chain is broken."""

    number: int
    what: str


@dataclass
class Walk:
    """Goes along the chain from its first entry on."""

    noted: Head | None = None
    """What an entry was once, as somebody wrote down elsewhere."""
    head: Head = START
    """The last entry that was found right."""
    fault: Fault | None = None
    unanswered: dict[int, None] = field(default_factory=dict)
    """Numbers of the requests so far that have no answer, in order."""

    def take(self, links: Sequence[Link]) -> None:
        """Go on along these; nothing after the first fault is looked at."""
        for link in links:
            entry = entry_of(link.text)
            self.fault = self.fault or self._fault_of(link, entry)
            if self.fault is not None:
                return
            self.head = link.head
            if entry["kind"] == "asked":
                self.unanswered[link.number] = None
            elif entry.get("asked") is not None:
                self.unanswered.pop(entry["asked"], None)

    def end(self) -> None:
        """There are no more entries."""
        if self.fault is None and self.noted is not None and self.noted.number > self.head.number:
            self.fault = Fault(self.head.number + 1, f"the log ends before entry {self.noted.number}, which was noted")

    def _fault_of(self, link: Link, entry: Mapping[str, Any]) -> Fault | None:
        number = self.head.number + 1
        if link.number != number:
            return Fault(number, f"entry {number} is missing: {link.number} is the next one that is there")
        if entry.get("number") != number:
            there = f"entry {entry['number']}" if "number" in entry else "what is no entry"
            return Fault(number, f"in the place of entry {number} stands {there}")
        if link.hash != hash_after(self.head.hash, link.text):
            return Fault(number, f"entry {number} is not what was sealed there, or the one before it is not")
        if self.noted is not None and self.noted.number == number and self.noted.hash != link.hash:
            return Fault(
                number, f"entry {number} is not the one that was noted: it, or one before it, was written anew"
            )
        return None


def entry_of(text: str) -> dict[str, Any]:
    """An entry's JSON, read; empty if it is no entry."""
    try:
        entry: Any = json.loads(text)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) and {"kind", "number", "at"} <= entry.keys() else {}
