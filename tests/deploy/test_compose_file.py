"""docker-compose.yml and deploy/ say nothing that the code doesn't know, and give nothing away."""

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from distill.contracts.keys import hash_of_key, new_key, new_key_id
from services.control_plane.settings import Settings
from services.stack.redis_server import find_binary

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "redis"}
NODES = ("ray-head", "ray-worker", "control-plane")
MANIFEST_FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "deploy/kuberay").glob("*.yaml"))
FILES = ["docker-compose.yml", *MANIFEST_FILES]
MANIFESTS = [document for file in MANIFEST_FILES for document in yaml.safe_load_all((ROOT / file).read_text())]
REDIS_CONFIGURATIONS = {
    "compose": SERVICES["redis"]["command"][-1].replace("$$", "$"),
    "kuberay": next(d for d in MANIFESTS if d["kind"] == "StatefulSet")["spec"]["template"]["spec"]["containers"][0][
        "command"
    ][-1],
}


def names_in_code() -> set[str]:
    """Every STILLHOUSE_ variable that a settings module reads."""
    files = [ROOT / "distill/contracts/settings.py", ROOT / "services/control_plane/settings.py"]
    return {name for file in files for name in re.findall(r"STILLHOUSE_[A-Z_]+", file.read_text())}


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a manifest, wherever they are."""
    spec = document["spec"]
    templates = [spec.get("template"), spec.get("headGroupSpec", {}).get("template")]
    templates += [group["template"] for group in spec.get("workerGroupSpecs", [])]
    return [container for template in templates if template for container in template["spec"]["containers"]]


def test_every_service_has_an_image():
    assert set(SERVICES) == {"redis", "ray-head", "ray-worker", "control-plane"}
    assert all(service["image"] for service in SERVICES.values())
    assert {service["image"] for service in OURS.values()} == {"stillhouse:0.1.0"}
    assert (ROOT / SERVICES["control-plane"]["build"]["dockerfile"]).is_file()


def test_ports_are_published_on_loopback_only():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8470:8470"]


def test_the_pools_door_is_published_nowhere():
    door = SERVICES["control-plane"]["environment"]["STILLHOUSE_DOOR_PORT"]
    assert not any(door in str(port) for service in SERVICES.values() for port in service.get("ports", []))
    assert not any(document["kind"] == "Service" and door in str(document) for document in MANIFESTS)


def test_the_volumes_and_secrets_that_are_used_exist():
    for service in SERVICES.values():
        named = [volume.split(":")[0] for volume in service.get("volumes", []) if volume[0].isalpha()]
        assert set(named) <= set(COMPOSE["volumes"])
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])


def test_every_node_has_the_same_environment_and_storage():
    wanted = SERVICES["ray-worker"]
    for name in NODES:
        assert SERVICES[name]["volumes"] == wanted["volumes"]
        assert SERVICES[name]["secrets"] == wanted["secrets"]
        assert wanted["environment"].items() <= SERVICES[name]["environment"].items()


def test_data_is_mounted_read_only():
    assert any(volume.endswith(":/data:ro") for volume in SERVICES["ray-worker"]["volumes"])


def test_every_variable_of_ours_is_one_that_the_code_reads():
    given = {name for service in SERVICES.values() for name in service.get("environment", {})}
    given |= {variable["name"] for document in MANIFESTS for c in containers(document) for variable in c.get("env", [])}
    given |= set(re.findall(r"\bSTILLHOUSE_[A-Z_]+", (ROOT / "deploy/Dockerfile").read_text()))
    ours = {name for name in given if name.startswith("STILLHOUSE_")}
    assert {"STILLHOUSE_STORAGE", "STILLHOUSE_RAY_DASHBOARD"} <= ours <= names_in_code()


def test_the_control_plane_accepts_its_environment():
    given = SERVICES["control-plane"]["environment"]
    first = hash_of_key(new_key(new_key_id()))
    made = {"STILLHOUSE_REDIS_URL": "redis://:secret@redis:6379/0", "STILLHOUSE_ADMIN_KEY_HASH": str(first)}
    assert given["STILLHOUSE_ADMIN_KEY_HASH"] == "${STILLHOUSE_ADMIN_KEY_HASH:-}"
    settings = Settings.from_environment(given | made)
    assert settings.admin_key == first
    assert (settings.host, settings.port, settings.ray_dashboard) == ("0.0.0.0", 8470, "http://ray-head:8265")
    assert settings.door == "http://127.0.0.1:8471/v1/pool"
    assert settings.ray_token_path == Path("/run/secrets/ray-token")


@pytest.mark.parametrize("file", FILES)
def test_no_password_stands_in_a_file(file):
    text = (ROOT / file).read_text()
    assert set(re.findall(r"redis://:([^@\s]*)@", text)) <= {"$(REDIS_PASSWORD)"}
    assert all(value.startswith("$") for value in re.findall(r"requirepass (\S+)", text))
    assert not re.findall(r"(?im)^\s*\S*(?:password|token)\s*[:=]\s*[0-9a-f]{16,}", text)


def test_secrets_are_not_committed_and_not_in_the_image():
    assert "secrets/" in (ROOT / "deploy/.gitignore").read_text().split()
    taken = (ROOT / "deploy/Dockerfile.dockerignore").read_text().split()
    assert "*" in taken
    assert not any(line.startswith("!") and "secret" in line for line in taken)


def test_the_image_holds_every_package_and_runs_as_nobody_special():
    text = (ROOT / "deploy/Dockerfile").read_text()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages <= set(re.findall(r"^COPY (\w+) ", text, flags=re.MULTILINE))
    assert re.findall(r"^USER (\S+)", text, flags=re.MULTILINE) == ["stillhouse"]


def test_the_entry_point_makes_the_address_of_redis_from_the_secret(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("s3cret")
    shown = run_entrypoint({"REDIS_PASSWORD_FILE": str(secret)})
    assert shown == "redis://:s3cret@redis:6379/0"


def test_an_address_that_is_given_is_left_alone(tmp_path):
    assert run_entrypoint({"STILLHOUSE_REDIS_URL": "redis://elsewhere:6379/0"}) == "redis://elsewhere:6379/0"


def run_entrypoint(environment: dict[str, str]) -> str:
    command = [str(ROOT / "deploy/entrypoint.sh"), "printenv", "STILLHOUSE_REDIS_URL"]
    variables = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("where", sorted(REDIS_CONFIGURATIONS))
def test_a_real_server_takes_the_redis_configuration(where, tmp_path):
    (tmp_path / "password").write_text("s3cret")
    script = re.sub(r"/run/secrets/\S*password", str(tmp_path / "password"), REDIS_CONFIGURATIONS[where])
    address = tmp_path / "redis.sock"
    script = script.replace("dir /data", f"dir {tmp_path}\nport 0\nunixsocket {address}")
    server = subprocess.Popen(["sh", "-c", script], env=path_with_redis_server(tmp_path), stdout=subprocess.DEVNULL)
    try:
        assert ask_settings(address) == {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
    finally:
        server.terminate()
        server.wait(timeout=20)


def path_with_redis_server(folder: Path) -> dict[str, str]:
    """An environment in which ``redis-server`` is whatever server this machine has."""
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "redis-server").symlink_to(find_binary())
    return {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}


def ask_settings(address: Path) -> dict[str, str]:
    """What the server says of its durability, once it answers."""
    deadline = time.monotonic() + 20
    while not address.exists():
        assert time.monotonic() < deadline, "the server doesn't come up"
        time.sleep(0.02)
    with Redis(unix_socket_path=str(address), password="s3cret", decode_responses=True) as client:
        return dict(client.config_get("appendonly", "appendfsync", "save", "maxmemory-policy"))
