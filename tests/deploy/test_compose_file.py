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
from redis.exceptions import NoPermissionError

from distill.contracts import names
from distill.contracts.keys import hash_of_key, new_key, new_key_id
from services.control_plane.settings import Settings
from services.stack.redis_server import DOOR, DOOR_MAY, find_binary

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


NODE_VARIABLES, CONTROL_PLANE_VARIABLES = (
    set(re.findall(r"STILLHOUSE_[A-Z_]*[A-Z]", (ROOT / file).read_text()))
    for file in ("distill/contracts/settings.py", "services/control_plane/settings.py")
)
"""What each of the settings modules reads."""

MADE = {"STILLHOUSE_REDIS_URL": "redis://:secret@redis:6379/0"}
"""What the entry point makes, or the secret's value."""


def names_in_code() -> set[str]:
    """Every STILLHOUSE_ variable that a settings module reads."""
    return NODE_VARIABLES | CONTROL_PLANE_VARIABLES


def config_map(name: str) -> dict[str, str]:
    """What a ConfigMap of the manifests holds."""
    found = [one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", name)]
    return dict(found[0]["data"])


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    """What a container of the manifests is given; what comes from a secret is only named."""
    given: dict[str, str] = {}
    for source in container.get("envFrom", []):
        given |= config_map(source["configMapRef"]["name"])
    return given | {one["name"]: one.get("value", "") for one in container.get("env", [])}


def control_plane_pod() -> dict[str, Any]:
    """Its template in the manifests."""
    (deployment,) = [document for document in MANIFESTS if document["kind"] == "Deployment"]
    return dict(deployment["spec"]["template"]["spec"])


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a manifest, wherever they are."""
    spec = document.get("spec", {})
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
        assert {"redis-password", "ray-token"} <= set(SERVICES[name]["secrets"])
        assert wanted["environment"].items() <= SERVICES[name]["environment"].items()


def test_each_secret_is_where_it_is_used_and_nowhere_else():
    holders = {
        secret: {name for name in SERVICES if secret in SERVICES[name]["secrets"]} for secret in COMPOSE["secrets"]
    }
    assert holders == {
        "redis-password": {"redis", *NODES},
        "redis-door-password": {"redis", "ray-head", "ray-worker"},
        "ray-token": set(NODES),
        "webhook-secret": {"control-plane"},
    }
    made = re.search(r"for secret in ([\w -]+);", (ROOT / "deploy/README.md").read_text())
    assert made is not None
    assert set(made[1].split()) == set(COMPOSE["secrets"])


def test_every_process_is_bounded():
    for name, service in SERVICES.items():
        assert service["mem_limit"], name
        assert (service["cap_drop"], service["restart"]) == (["ALL"], "unless-stopped")
    for document in MANIFESTS:
        for container in containers(document):
            assert container["resources"]["limits"]["memory"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_an_operator_finds_every_setting():
    compose = {name: set(SERVICES[name]["environment"]) for name in NODES}
    made = {"STILLHOUSE_REDIS_URL", "STILLHOUSE_DOOR_REDIS_URL"}  # by the entry point
    of_the_image = {"STILLHOUSE_FASHION_MNIST"}  # Debian's package is found without
    assert NODE_VARIABLES - made - of_the_image <= compose["ray-worker"]
    assert names_in_code() - made - of_the_image <= compose["control-plane"]
    (cluster,) = [document for document in MANIFESTS if document["kind"] == "RayCluster"]
    assert all(NODE_VARIABLES - of_the_image <= set(environment_of(one)) for one in containers(cluster))
    (container,) = control_plane_pod()["containers"]
    assert names_in_code() - of_the_image - {"STILLHOUSE_DOOR_REDIS_URL"} <= set(environment_of(container))


def test_what_the_config_maps_say_is_what_holds_where_nothing_is_said():
    needed = MADE | {"STILLHOUSE_STORAGE": "/storage", "STILLHOUSE_RAY_DASHBOARD": "http://127.0.0.1:8265"}
    said = config_map("stillhouse-node") | config_map("stillhouse-control-plane")
    assert Settings.from_environment(needed | said) == Settings.from_environment(needed)


def test_a_variable_that_compose_hands_on_is_left_out_where_nobody_sets_it():
    handed_on = {name for name, value in SERVICES["control-plane"]["environment"].items() if value is None}
    assert handed_on == set(config_map("stillhouse-node") | config_map("stillhouse-control-plane")) - {
        "STILLHOUSE_WEBHOOK_SECRET_PATH"
    }


def test_the_volumes_and_settings_that_the_manifests_name_exist():
    named = {document["metadata"]["name"] for document in MANIFESTS}
    for document in MANIFESTS:
        for container in containers(document):
            assert {source["configMapRef"]["name"] for source in container.get("envFrom", [])} <= named
    pod = control_plane_pod()
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_life_and_readiness_are_asked_where_they_are_told():
    probes = [SERVICES["control-plane"]["healthcheck"]["test"], *map(str, control_plane_pod()["containers"])]
    assert all("http://127.0.0.1:8470/readyz" in probe for probe in probes)
    container = control_plane_pod()["containers"][0]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"][-1] == "http://127.0.0.1:8470/healthz"


def test_data_is_mounted_read_only():
    assert any(volume.endswith(":/data:ro") for volume in SERVICES["ray-worker"]["volumes"])


def test_every_variable_of_ours_is_one_that_the_code_reads():
    given = {name for service in SERVICES.values() for name in service.get("environment", {})}
    given |= {variable["name"] for document in MANIFESTS for c in containers(document) for variable in c.get("env", [])}
    given |= set(re.findall(r"\bSTILLHOUSE_[A-Z_]+", (ROOT / "deploy/Dockerfile").read_text()))
    ours = {name for name in given if name.startswith("STILLHOUSE_")}
    assert {"STILLHOUSE_STORAGE", "STILLHOUSE_RAY_DASHBOARD"} <= ours <= names_in_code()


def test_the_control_plane_accepts_its_environment():
    given = {name: value for name, value in SERVICES["control-plane"]["environment"].items() if value is not None}
    first = hash_of_key(new_key(new_key_id()))
    made = MADE | {"STILLHOUSE_ADMIN_KEY_HASH": str(first)}
    assert given["STILLHOUSE_ADMIN_KEY_HASH"] == "${STILLHOUSE_ADMIN_KEY_HASH:-}"
    settings = Settings.from_environment(given | made)
    assert settings.admin_key == first
    assert (settings.host, settings.port, settings.ray_dashboard) == ("0.0.0.0", 8470, "http://ray-head:8265")
    assert settings.door == "http://127.0.0.1:8471/v1/pool"
    assert settings.ray_token_path == Path("/run/secrets/ray-token")
    assert settings.webhook_secret_path == Path("/run/secrets/webhook-secret")


def test_the_control_plane_accepts_what_the_manifests_give_it():
    (container,) = control_plane_pod()["containers"]
    settings = Settings.from_environment(environment_of(container) | MADE)
    assert (settings.host, settings.ray_dashboard) == ("127.0.0.1", "http://stillhouse-head-svc:8265")
    assert settings.ray_token_path == Path("/run/secrets/ray/auth_token")


@pytest.mark.parametrize("file", FILES)
def test_no_password_stands_in_a_file(file):
    text = (ROOT / file).read_text()
    assert set(re.findall(r"redis://\w*:([^@\s]*)@", text)) <= {"$(REDIS_PASSWORD)", "$(REDIS_DOOR_PASSWORD)"}
    assert all(value.startswith("$") for value in re.findall(r"(?:requirepass |reset on >)(\S+)", text))
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


ADDRESSES = [
    ("STILLHOUSE_REDIS_URL", "REDIS_PASSWORD_FILE", "redis://:s3cret@redis:6379/0"),
    ("STILLHOUSE_DOOR_REDIS_URL", "REDIS_DOOR_PASSWORD_FILE", "redis://door:s3cret@redis:6379/0"),
]


@pytest.mark.parametrize(("variable", "file", "made"), ADDRESSES)
def test_the_entry_point_makes_the_addresses_of_redis_from_the_secrets(variable, file, made, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("s3cret")
    assert run_entrypoint(variable, {file: str(secret)}) == made


@pytest.mark.parametrize("variable", [variable for variable, _, _ in ADDRESSES])
def test_an_address_that_is_given_is_left_alone(variable):
    assert run_entrypoint(variable, {variable: "redis://elsewhere:6379/0"}) == "redis://elsewhere:6379/0"


def run_entrypoint(variable: str, environment: dict[str, str]) -> str:
    command = [str(ROOT / "deploy/entrypoint.sh"), "printenv", variable]
    variables = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("where", [*REDIS_CONFIGURATIONS, "docs/security.md"])
def test_the_door_may_do_the_same_everywhere(where):
    text = REDIS_CONFIGURATIONS.get(where) or (ROOT / where).read_text()
    assert re.findall(rf"{DOOR} reset on >(?:\$\([^)]*\)|PASSWORD) (.*)", text) == [DOOR_MAY]


@pytest.mark.parametrize("where", sorted(REDIS_CONFIGURATIONS))
def test_a_real_server_takes_the_redis_configuration(where, tmp_path):
    (tmp_path / "password").write_text("s3cret")
    (tmp_path / "door-password").write_text("d00r")
    script = re.sub(r"/run/secrets/\S*?(door-)?password", rf"{tmp_path}/\1password", REDIS_CONFIGURATIONS[where])
    address = tmp_path / "redis.sock"
    script = script.replace("dir /data", f"dir {tmp_path}\nport 0\nunixsocket {address}")
    server = subprocess.Popen(["sh", "-c", script], env=path_with_redis_server(tmp_path), stdout=subprocess.DEVNULL)
    try:
        assert ask_settings(address) == {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory": str(2**30),
            "maxmemory-policy": "noeviction",
        }
        with Redis(unix_socket_path=str(address), username=DOOR, password="d00r") as door:
            assert door.get(names.key_key("none")) is None
            with pytest.raises(NoPermissionError):
                door.get(names.TEAMS_KEY)
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
        return dict(client.config_get("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy"))
