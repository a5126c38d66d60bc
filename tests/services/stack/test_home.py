"""The state folder: one supervisor at a time, and secrets stay with the owner."""

import socket
import stat
from pathlib import Path

import pytest

from distill.contracts.errors import Conflict, InvalidSpec
from distill.contracts.keys import hash_of_key, id_of_key
from distill.contracts.settings import NodeSettings
from services.stack import control_plane
from services.stack.control_plane import choose_port
from services.stack.home import ControlPlaneState, RayState, RedisState, StackHome, StackState
from services.stack.processes import Child, ProcessId, free_ports
from services.stack.ray_head import choose_door_port
from services.stack.settings import StackSettings
from services.stack.stack import Stack
from services.stack.stopping import stop_stack

NODE = NodeSettings(redis_url="redis://x", storage=Path("/x"), data_root=Path("/x"), cache=Path("/x"))


@pytest.fixture
def home(tmp_path: Path) -> StackHome:
    home = StackHome(tmp_path / "home")
    home.make()
    return home


def test_a_second_supervisor_is_told_who_holds_the_folder(home: StackHome):
    home.write(StackState(mark="m", url="http://127.0.0.1:8470", up=ProcessId(pid=4711, create_time=1.0)))
    with home.lock(), pytest.raises(Conflict) as caught, StackHome(home.folder).lock():
        pass
    assert "at http://127.0.0.1:8470, held by process 4711" in str(caught.value)


def test_the_lock_is_free_again_after_its_holder(home: StackHome):
    with home.lock():
        assert home.is_locked()
    assert not home.is_locked()


def test_nobody_else_can_look_inside(home: StackHome):
    home.write(StackState(mark="m"))
    assert home.folder.stat().st_mode & 0o077 == 0
    assert home.state_file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", '{"mark": 3}'])
def test_a_state_that_cannot_be_read_is_none(home: StackHome, text: str):
    home.state_file.write_text(text)
    assert home.read() is None


def test_a_stopped_stack_keeps_its_ports(home: StackHome):
    redis = RedisState(url="redis://", port=5, process=ProcessId(pid=1, create_time=1))
    state = StackState(mark="m", url="http://x", redis=redis, control_plane=ControlPlaneState(port=7))
    after = state.stopped()
    assert (after.url, after.redis, after.control_plane) == (
        None,
        RedisState(url="redis://", port=5),
        state.control_plane,
    )


def test_down_where_nothing_ever_ran_says_so(tmp_path: Path):
    assert not stop_stack(StackHome(tmp_path / "never"))


def test_a_port_that_is_taken_is_refused_and_0_takes_another(home: StackHome):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"port {port} is taken"):
            choose_port(port, None)
        assert choose_port(0, ControlPlaneState(port=port)) != port


def test_the_last_port_is_taken_again_for_0():
    port = free_ports(1)[0]
    assert choose_port(0, ControlPlaneState(port=port)) == port


def test_the_folder_is_named_by_the_environment(tmp_path: Path):
    settings = StackSettings.from_environment(
        {
            "STILLHOUSE_HOME": str(tmp_path),
            "REDIS_URL": "redis://there",
            "STILLHOUSE_DOOR_REDIS_URL": "redis://door@there",
            "STILLHOUSE_DOOR_PORT": "9",
        }
    )
    assert (settings.home, settings.redis_url, settings.door_port) == (tmp_path, "redis://there", 9)
    assert settings.door_redis_url == "redis://door@there"


@pytest.mark.parametrize(
    "name", ["STILLHOUSE_DOOR_PORT", "STILLHOUSE_DATASET_BYTES", "STILLHOUSE_ANSWERS_MEMORY_BYTES"]
)
def test_a_number_that_is_none_is_refused_by_the_name_of_its_variable(tmp_path: Path, name: str):
    home = {"STILLHOUSE_HOME": str(tmp_path)}
    with pytest.raises(InvalidSpec, match=f"{name} is 'abc'"):
        StackSettings.from_environment(home | {name: "abc"})
    assert StackSettings.from_environment(home | {name: ""}) == StackSettings.from_environment(home)


def test_the_doors_port_is_the_one_that_was_asked_for_or_an_error_that_names_the_setting():
    free = free_ports(1)[0]
    assert choose_door_port(free, beside=8470, last=None) == free
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Conflict, match="is taken") as caught:
        choose_door_port(taken.getsockname()[1], beside=8470, last=None)
    assert caught.value.details["field"] == "STILLHOUSE_DOOR_PORT"


def test_the_doors_port_is_the_last_one_then_the_one_after_the_control_planes_then_any():
    last, beside = free_ports(2)
    ray = RayState(ports={}, folder=Path("/x"), node=NODE, door_port=last)
    assert choose_door_port(None, beside=beside - 1, last=ray) == last
    assert choose_door_port(None, beside=beside - 1, last=None) == beside
    with socket.create_server(("127.0.0.1", last)), socket.create_server(("127.0.0.1", beside)):
        assert choose_door_port(None, beside=beside - 1, last=ray) not in {last, beside}
    assert choose_door_port(None, beside=0, last=None) < 32_768  # Linux gives those above to connections


def test_a_door_that_a_later_stack_asks_for_elsewhere_needs_another_ray(tmp_path: Path):
    settings = StackSettings(home=tmp_path, redis_url="redis://x")
    stack = Stack(settings)
    stack._state = StackState(mark="m", redis=RedisState(url="redis://x"))
    ray = RayState(ports={}, folder=tmp_path, node=stack.node, door_port=5)
    assert stack._suits(ray)
    assert not stack._suits(ray.model_copy(update={"door_port": None}))
    asked = Stack(settings.model_copy(update={"door_port": 6}))
    asked._state = stack._state
    assert not asked._suits(ray)


def test_the_operators_key_is_made_once_for_its_owner_alone(home: StackHome):
    key = home.admin_key()
    assert (id_of_key(key), home.admin_key()) == (key.split("_")[1], key)
    assert stat.S_IMODE(home.key.stat().st_mode) == 0o600


def test_the_control_plane_is_told_the_hash_of_the_key_alone(home: StackHome, monkeypatch: pytest.MonkeyPatch):
    told: dict[str, str] = {}

    def remember(command: list[str], *, environment: dict[str, str], folder: Path, log: Path) -> Child:
        told.update(environment | {"command": " ".join(command)})
        return Child(ProcessId(pid=1, create_time=1.0))

    monkeypatch.setattr(control_plane, "spawn", remember)
    ray = RayState(ports={"dashboard-port": 1}, folder=Path("/x"), node=NODE, door_port=2)
    control_plane.start_control_plane(home, environment={}, port=1, ray=ray)
    assert told["STILLHOUSE_ADMIN_KEY_HASH"] == str(hash_of_key(home.admin_key()))
    assert not [name for name, value in told.items() if home.admin_key() in value]


def test_a_persons_own_key_is_not_inherited_and_the_stack_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STILLHOUSE_KEY", "sth_secret")
    monkeypatch.setenv("STILLHOUSE_KEY_FILE", "/a/file")
    inherited = Stack(StackSettings(home=tmp_path))._environment()
    assert not {"STILLHOUSE_KEY", "STILLHOUSE_KEY_FILE"} & inherited.keys()
    assert inherited["STILLHOUSE_HOME"] == str(tmp_path)
