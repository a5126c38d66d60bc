"""A job that is posted ends with a student that its owner can run with plain torch, and it is as good as it was said."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from distill.contracts.records import JobRecord, JobState
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.fundamentals.jobs import TEST_ROWS, a_job, shown

OWNERS_PROGRAM = """
import sys

import torch
from sklearn.datasets import load_digits

digits = load_digits()
test = slice(4, None, 5)  # every fifth row
pixels = torch.from_numpy(digits.images[test] * 255 / 16).round().to(torch.uint8)[:, None]

student = torch.export.load(sys.argv[1]).module()
named = student(pixels).argmax(dim=1)
print((named == torch.from_numpy(digits.target[test])).double().mean().item())

assert not {"distill", "services", "student_worker", "teacher_server"} & sys.modules.keys()
"""


def test_posting_is_answered_at_once_with_the_record_and_where_to_find_it(answer: httpx.Response):
    stored = JobRecord.model_validate_json(answer.content)
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{stored.id}"
    assert (stored.state, stored.spec) == (JobState.QUEUED, a_job())


def test_the_job_is_found_there_and_succeeds_at_its_first_attempt(
    stack: Stack, answer: httpx.Response, unbroken: JobRecord
):
    found = httpx.get(stack.url + answer.headers["Location"], headers=shown(stack.key))
    assert JobRecord.model_validate_json(found.content) == unbroken
    assert (unbroken.state, unbroken.attempt) == (JobState.SUCCEEDED, 1)
    assert unbroken.reason.text == "the student is trained"


def test_its_student_runs_without_us_and_is_as_good_as_was_reported(
    client: StillhouseClient, unbroken: JobRecord, tmp_path: Path
):
    files = {file.name: client.download(unbroken.id, file, tmp_path) for file in client.artifacts(unbroken.id)}
    assert set(files) == {"model.safetensors", "model.json", "student.pt2", "model_card.md"}

    command = [sys.executable, "-I", "-c", OWNERS_PROGRAM, str(files["student.pt2"])]
    accuracy = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    (student,) = client.report("job", unbroken.id).models
    assert student.quality.num_rows == TEST_ROWS
    assert accuracy == pytest.approx(student.quality.accuracy, abs=1e-9)
    assert accuracy > 0.9
