"""Every bad answer becomes the contracts' own error."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from distill.contracts.errors import DependencyDown, InvalidSpec, NotFound, StillhouseError, errors_by_code
from services.client import StillhouseClient
from services.stack.processes import free_ports
from tests.services.client.stub_house import SPEC, House


@pytest.mark.parametrize("kind", errors_by_code().values(), ids=lambda kind: kind.__name__)
def test_each_problem_code_comes_back_as_its_own_error(
    house: House, asking: StillhouseClient, kind: type[StillhouseError]
):
    house.refusals["/v1/jobs"] = kind("it can't be", field="dataset", got="this", expected="that", hint="do so")
    with pytest.raises(StillhouseError) as caught:
        asking.submit_job(SPEC)
    assert type(caught.value) is kind
    assert caught.value.problem() == house.refusals["/v1/jobs"].problem()


def test_the_class_that_ray_makes_of_an_error_that_a_task_raised_stands_for_no_code():
    class RaisedInATask(NotFound):
        """As Ray's own: of the error's class and of its own at once."""

    assert errors_by_code()[RaisedInATask.code] is NotFound


def test_a_server_that_is_not_there_is_named_with_what_to_do():
    with StillhouseClient(f"http://127.0.0.1:{free_ports(1)[0]}") as client, pytest.raises(DependencyDown) as caught:
        client.job("digits-abc123")
    assert "is `stillhouse up` running?" in str(caught.value)


def test_an_answer_that_is_not_stillhouses_says_who_gave_it():
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.handle_request).start()
        url = f"http://127.0.0.1:{other.server_port}"
        with StillhouseClient(url) as client, pytest.raises(StillhouseError, match=f"{url}/v1/jobs/a answered 501"):
            client.job("a")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8470", "http://"])
def test_what_is_not_a_url_of_a_server_is_the_callers_error(url: str):
    with pytest.raises(InvalidSpec, match="URL"), StillhouseClient(url) as client:
        client.job("a")


def test_an_identity_never_leaves_its_place_in_the_path(house: House, asking: StillhouseClient):
    with pytest.raises(NotFound):
        asking.job("../teachers")
    assert house.asked[-1][1] != "/v1/teachers"
