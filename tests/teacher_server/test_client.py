"""The pool through its door, on a real Ray cluster with Serve."""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from ray import serve
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from distill.contracts import names
from distill.contracts.errors import InvalidAnswer, InvalidSpec, TeacherUnavailable
from distill.contracts.job import AnswersSpec
from distill.contracts.taps import MemberTap, WholeTap
from distill.contracts.teachers import ResolvedTeacher
from distill.science.weights import load_model
from services.control_plane.deployment import DOOR_HOST, PROXY_LOCATION
from teacher_server.client import AskStopped, TeacherPool
from teacher_server.folder import member_folder
from tests.teacher_server.small_teachers import folder_of

LIVE = AnswersSpec(precision="fp32", remember=False)


def a_pool(*teachers: ResolvedTeacher, **options: Any) -> TeacherPool:
    return TeacherPool(teachers, **{"team": "vision", "job": "fashion", "answers": LIVE} | options)


def forward(settings, teacher: ResolvedTeacher, rows: torch.Tensor) -> torch.Tensor:
    """Logits (N, M, C) of the members, each called by itself."""
    folder = folder_of(settings, teacher.name, teacher.version)
    members = [load_model(member_folder(folder, at))[0].eval() for at in range(len(teacher.manifest.members))]
    with torch.inference_mode():
        return torch.stack([member(rows) for member in members], dim=1)


def pid_of(teacher: ResolvedTeacher) -> int:
    handle = DeploymentHandle(names.DEPLOYMENT, names.application(teacher.name, teacher.version))
    return int(handle.describe.remote().result(timeout_s=10)["pid"])


def test_two_teachers_answer_as_one_ensemble_in_the_order_of_the_job_file(deploy, settings, trio, served_solo, rows):
    deploy(trio)
    pool = a_pool(trio, served_solo)
    pool.wait_ready(timeout_s=20)
    answer = pool.ask(rows(100)).result()
    expected = torch.cat([forward(settings, trio, rows(100)), forward(settings, served_solo, rows(100))], dim=1)
    torch.testing.assert_close(answer.logits_NMC, expected, atol=1e-5, rtol=0)
    assert pool.rows_asked == 200
    assert pool.wait_s > 0

    tap = next(name for name in trio.manifest.members[1].taps if name not in trio.manifest.members[0].taps)
    asked = (MemberTap(member=1, tap=WholeTap(name=tap)), MemberTap(member=3, tap=WholeTap(name="head")))
    tapped = a_pool(trio, served_solo, answers=AnswersSpec(remember=False), taps=asked)
    everyone = tapped.ask(rows(7)).result()
    assert everyone.features[1, tap].shape == (7, *trio.manifest.members[1].taps[tap])
    torch.testing.assert_close(everyone.features[3, "head"], everyone.logits_NMC[:, 3])
    assert set(everyone.features) == {(1, tap), (3, "head")}
    assert everyone.logits_NMC.dtype == torch.float16

    some = tapped.ask(rows(7), members=(0, 3)).result()
    assert some.members == (0, 3)
    torch.testing.assert_close(some.logits_NMC, everyone.logits_NMC[:, [0, 3]])
    assert set(some.features) == {(3, "head")}
    assert tapped.ask(rows(7), members=(3,), with_taps=False).result().members == (3,)


def test_a_bad_window_fails_alone_with_a_typed_error(served_solo, rows):
    pool = a_pool(served_solo)
    good, bad, also_good = pool.ask(rows(5)), pool.ask(rows(5)[:, :, :4]), pool.ask(rows(6))
    with pytest.raises(InvalidSpec, match="the shape of the inputs") as refused:
        bad.result()
    assert refused.value.details["field"] == "inputs"
    assert len(good.result().logits_NMC) == 5
    assert len(also_good.result().logits_NMC) == 6


def test_a_teacher_that_is_not_the_promised_one_is_refused(served_solo, rows):
    pool = a_pool(served_solo.model_copy(update={"digest": "sha256:" + "0" * 64}))
    with pytest.raises(InvalidAnswer, match="not the version that the job was promised"):
        pool.wait_ready(timeout_s=20)
    with pytest.raises(InvalidAnswer, match="wrong digest"):
        pool.ask(rows(3)).result()


def test_nothing_is_lost_when_the_replica_is_killed_mid_stream(settings, served_solo, rows):
    said: list[str] = []
    pool = a_pool(served_solo, on_wait=lambda teacher, why: said.append(f"waits: {why}"), on_return=said.append)
    pool.wait_ready(timeout_s=20)
    pending, answers = [pool.ask(rows(200, seed)) for seed in range(2)], []
    for seed in range(2, 10):
        if seed == 5:
            os.kill(pid_of(served_solo), signal.SIGKILL)
        pending.append(pool.ask(rows(200, seed)))
        answers.append(pending.pop(0).result())
    answers += [one.result() for one in pending]
    for seed, answer in enumerate(answers):
        torch.testing.assert_close(
            answer.logits_NMC, forward(settings, served_solo, rows(200, seed)), atol=1e-5, rtol=0
        )
    # told only if it took longer than 3 s, and then told of the return too
    assert said == [] or said[-1] == "solo@1"


def test_a_teacher_that_starts_late_is_waited_for_and_heard_at_once(deploy, trio, rows):
    said: list[tuple[str, ...]] = []
    waits = threading.Event()

    def on_wait(*words: str) -> None:
        said.append(words)
        waits.set()

    pool = a_pool(trio, on_wait=on_wait, on_return=lambda teacher: said.append((teacher, "is back")))
    pending = pool.ask(rows(4))
    answers: list[torch.Tensor] = []
    waiting = threading.Thread(target=lambda: answers.append(pending.result().logits_NMC))
    waiting.start()
    assert waits.wait(10)
    deploy(trio)
    waiting.join(20)
    assert answers[0].shape == (4, 3, 4)
    assert said == [("trio@1", "no replica is running"), ("trio@1", "is back")]


@pytest.mark.long
def test_a_teacher_that_left_and_came_back_answers_on_the_same_line(deploy, trio, rows):
    deploy(trio)
    pool = a_pool(trio)
    before = pool.ask(rows(4)).result()
    serve.delete(names.application("trio", 1))
    pending = pool.ask(rows(4))
    deploy(trio)
    assert torch.equal(pending.result().logits_NMC, before.logits_NMC)


def test_a_teacher_that_never_comes_is_given_up(connected_ray, solo, rows):
    nobody = solo.model_copy(update={"name": "nobody"})
    with pytest.raises(TeacherUnavailable, match="nobody@1 has not answered for 0 s: no replica is running"):
        a_pool(nobody, give_up_s=0.3).ask(rows(4)).result()
    with pytest.raises(TeacherUnavailable, match="nobody@1 is not ready"):
        a_pool(nobody).wait_ready(timeout_s=0.3)


def test_who_is_asked_to_stop_stops_waiting(connected_ray, solo, rows):
    nobody = solo.model_copy(update={"name": "nobody"})
    asked = iter([False, False, True])
    with pytest.raises(AskStopped):
        a_pool(nobody, should_stop=lambda: next(asked)).ask(rows(4)).result()


def test_teachers_that_name_other_classes_are_no_ensemble(trio, solo):
    other = solo.manifest.model_copy(update={"classes": ("a", "b", "c", "d")})
    with pytest.raises(InvalidSpec, match="solo@1 and trio@1 don't name the same classes"):
        a_pool(trio, solo.model_copy(update={"manifest": other}))


def test_a_tap_that_no_teacher_has_is_refused_before_anything_is_asked(trio):
    with pytest.raises(InvalidSpec, match=r"member 1 can't give .*nowhere"):
        a_pool(trio, taps=(MemberTap(member=1, tap=WholeTap(name="nowhere")),))
    with pytest.raises(InvalidSpec, match="there are 3"):
        a_pool(trio, taps=(MemberTap(member=3, tap=WholeTap(name="head")),))
    with pytest.raises(ValueError, match="members must rise within 0 to 2"):
        a_pool(trio).ask(torch.zeros(1), members=(3,))


SERVE_BY_ANOTHER = """
import sys
import ray
from ray import serve
ray.init(log_to_driver=False)
serve.shutdown()
serve.start(proxy_location=sys.argv[1], http_options={"host": sys.argv[2], "port": int(sys.argv[3])})
"""


@pytest.mark.long
def test_serve_shut_down_and_started_again_by_another_process_is_found_again(
    deploy, stack, driver_environment, trio, rows
):
    deploy(trio)
    pool = a_pool(trio)
    before = pool.ask(rows(4)).result()
    door = (PROXY_LOCATION, DOOR_HOST, str(stack.state.ray.door_port))
    command = [sys.executable, "-c", SERVE_BY_ANOTHER, *door]
    subprocess.run(command, env=driver_environment, check=True, capture_output=True, timeout=60)
    answers: list[torch.Tensor] = []
    waiting = threading.Thread(target=lambda: answers.append(pool.ask(rows(4)).result().logits_NMC))
    waiting.start()
    # until this process, too, has noticed
    while serve_is_stale():
        waiting.join(1)
    deploy(trio)
    waiting.join(60)
    assert torch.equal(answers[0], before.logits_NMC)


def serve_is_stale() -> bool:
    try:
        serve.status()
    except RayError:
        return True
    return False
