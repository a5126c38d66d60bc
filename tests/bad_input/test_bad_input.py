"""Every mistake gets one clear answer: the field, what came, what was expected, and a stable code."""

import pytest

from distill.contracts.records import JobState, Phase
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.bad_input.cases import AT_CHECK, AT_SUBMIT, AT_SUBMIT_OF_STUDY, JOB, Mistake
from tests.bad_input.house import answer_at_submit, prepare, problems_at_check


@pytest.fixture(scope="module")
def house(stack: Stack) -> Stack:
    """The stack, with the files and the teacher that the cases name."""
    prepare(stack)
    return stack


@pytest.mark.parametrize("mistake", [*AT_SUBMIT, *AT_SUBMIT_OF_STUDY], ids=lambda mistake: mistake.what)
def test_a_mistake_is_found_when_the_job_is_posted(house: Stack, mistake: Mistake):
    answer = answer_at_submit(house, mistake)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem.get("field")) == (mistake.code, mistake.field), problem
    assert len(problem["detail"]) > 20


def test_what_was_refused_left_no_record(house: Stack, client: StillhouseClient):
    assert not [job for job in client.jobs() if job.spec.name == JOB["name"] and job.attempt == 0]


@pytest.mark.long
def test_what_only_the_data_or_the_weights_show_is_found_before_workers_are_asked_for(
    house: Stack, client: StillhouseClient
):
    for mistake, (job, problem) in zip(AT_CHECK, problems_at_check(client, AT_CHECK), strict=True):
        assert (job.state, job.attempt) == (JobState.FAILED, 1), mistake.what
        assert problem is not None
        assert (problem.code, problem.field) == (mistake.code, mistake.field), problem
        assert job.reason.text == problem.message
        assert not {Phase.CHECKED, Phase.WORKERS_READY} & job.attempts[0].phases.keys()
