"""``python -m tests.bad_input``: starts a stack, makes every mistake, and prints the answers as a Markdown table."""

import tempfile
from pathlib import Path

from services.client.client import StillhouseClient
from services.stack.settings import StackSettings
from services.stack.stack import Stack
from tests.bad_input.cases import AT_CHECK, AT_SUBMIT, AT_SUBMIT_OF_STUDY
from tests.bad_input.house import answer_at_submit, prepare, problems_at_check


def main() -> None:
    """Print a row for each mistake."""
    print("| mistake | found | code | answer |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home, Stack(StackSettings(home=Path(home)), port=0, num_cpus=4) as stack:
        prepare(stack)
        for mistake in (*AT_SUBMIT, *AT_SUBMIT_OF_STUDY):
            answer = answer_at_submit(stack, mistake)
            problem = answer.json()
            print(_row(mistake.what, f"at submit, {answer.status_code}", problem["code"], _told(problem, "detail")))
        with StillhouseClient(stack.url, key=stack.key) as client:
            for mistake, (job, found) in zip(AT_CHECK, problems_at_check(client, AT_CHECK), strict=True):
                told = _told(found.model_dump(), "message") if found else ""
                print(_row(mistake.what, f"by the check, {job.state}", found.code if found else "-", told))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _told(problem: dict[str, str | None], text: str) -> str:
    got = f" (got {problem['got']})" if problem.get("got") and str(problem["got"]) not in str(problem[text]) else ""
    return f"{problem[text]}{got}"


if __name__ == "__main__":
    main()
