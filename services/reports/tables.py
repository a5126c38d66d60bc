"""The parts that a Markdown page is made of: sections, tables, cells that no message can break."""

from collections.abc import Iterable, Sequence

NOTHING = "-"


def section(title: str, *bodies: str) -> str:
    """A heading and its paragraphs; nothing where there is nothing to say."""
    said = [body for body in bodies if body]
    return "\n\n".join([f"## {title}", *said]) if said else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing without rows."""
    lines = [list(row) for row in rows]
    if not lines:
        return ""
    bar = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in (head, bar, *lines))


def folded(summary: str, body: str) -> str:
    """Shown when it is asked for, where the page is rendered."""
    return f"<details><summary>{cell(summary)}</summary>\n\n{body}\n\n</details>" if body else ""


def cell(text: str) -> str:
    """On one line, and without a bar."""
    return " ".join(text.replace("|", "\\|").split())
