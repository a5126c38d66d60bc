"""Requests that nobody may accept: bodies, paths, queries, headers, ids."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JOB: dict[str, Any] = {
    "name": "hostile", "dataset": {"source": "digits"}, "student": {"source": "zoo", "name": "mlp"}, "training": {"epochs": 1},
}  # fmt: skip
"""A job file that is taken; cases change some of it."""
STUDY = {"name": "hostile", "job": JOB}
JSON = {"Content-Type": "application/json"}
NPZ = {"source": "npz", "train": "x"}
FILE = {
    "source": "file", "path": "evil.safetensors", "model": {"source": "zoo", "name": "mlp"}, "classes": ["a", "b"],
    "input": {"kind": "image", "channels": 1, "height": 8, "width": 8, "mean": [0.5], "std": [0.5]},
}  # fmt: skip
DEEP = 100_000


@dataclass(frozen=True)
class HostileRequest:
    """One request, and the problem that answers it."""

    what: str
    """Reads after "nobody takes"."""
    content: bytes | None = None
    path: str = "/v1/jobs"
    status: int = 422
    code: str = "invalid_json"
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


def body(what: str, content: bytes | str, **more: Any) -> HostileRequest:
    """A body that is no JSON of ours."""
    return HostileRequest(what, content.encode() if isinstance(content, str) else content, **more)


def job(what: str, **changes: Any) -> HostileRequest:
    """A job file with something else in it."""
    return HostileRequest(what, json.dumps(JOB | changes).encode(), code="invalid_spec")


def text(what: str, **pieces: str) -> HostileRequest:
    """A job file with this JSON text in place of some field's."""
    whole = ", ".join(f'"{key}": {pieces.get(key, json.dumps(value))}' for key, value in (JOB | pieces).items())
    return body(what, "{" + whole + "}")


def data_path(what: str, path: str, **more: Any) -> HostileRequest:
    """A job that names a file."""
    return HostileRequest(
        what, json.dumps(JOB | {"dataset": NPZ | {"train": path}}).encode(), **({"code": "invalid_spec"} | more)
    )


def member(what: str, **changes: Any) -> HostileRequest:
    """A teacher's version with this member."""
    content = json.dumps({"members": [FILE | changes]}).encode()
    return HostileRequest(what, content, "/v1/teachers/wise/versions", code="invalid_spec")


def plugin(path: str) -> HostileRequest:
    """A student of the operator's own, which the operator never named, or can't name."""
    return job(f"the plugin {path[:40]!r}", student={"source": "plugin", "import": path})


def read(what: str, path: str, status: int = 404, code: str = "not_found", **more: Any) -> HostileRequest:
    """Something that is asked for."""
    return HostileRequest(what, None, path, status, code, "GET", **more)


BODIES = (
    body("a body of brackets 100,000 deep", "[" * DEEP),
    body("a body of closed brackets 100,000 deep", "[" * DEEP + "]" * DEEP),
    body("a body of objects 100,000 deep", '{"a":' * DEEP + "1" + "}" * DEEP),
    body("a body 40 deep", "[" * 40 + "]" * 40),
    text("a configuration 300 deep",
         student='{"source":"transformers","model_type":"vit","config":' + '{"a":' * 300 + "1" + "}" * 301),
    body("a body of 200,000 values", "[" + "1," * 200_000 + "1]"),
    body("a body of 60,000 unknown keys", json.dumps({f"k{i}": i for i in range(60_000)})),
    body("a body of 900 unknown keys", json.dumps({f"k{i}": i for i in range(900)}), code="invalid_spec"),
    body("a key of 500,000 characters", json.dumps({"k" * 500_000: 1})),
    body("a text of two megabytes", json.dumps(JOB | {"name": "x" * (2 << 20)}), status=413, code="too_large"),
    body("a name of 900,000 characters", json.dumps(JOB | {"name": "x" * 900_000}), code="invalid_spec"),
    text("NaN for a number", training='{"epochs": NaN}'),
    text("infinity for a number", training='{"epochs": Infinity}'),
    text("minus infinity for a number", training='{"epochs": -Infinity}'),
    text("NaN deep in a configuration", student='{"source":"transformers","model_type":"vit","config":{"a":[NaN]}}'),
    text("a number of 100,000 digits", training='{"epochs": ' + "9" * 100_000 + "}"),
    text("a number of 5,000 digits", training='{"seed": ' + "9" * 5000 + "}"),
    text("a seed beyond 64 bits", training='{"seed": 9223372036854775808}'),
    text("a number of 10^999", training='{"epochs": 1e999}'),
    text("a key that stands twice", training='{"epochs": 1, "epochs": 2}'),
    body("a name that stands twice", '{"name": "a", ' + json.dumps(JOB)[1:]),
    text("half of a character", name='"\\ud800"'),
    text("half of a character in a mark", labels='{"a": "\\udfff"}'),
    text("half of a character in a key", labels='{"\\ud800": "a"}'),
    text("a NUL in a text", dataset='{"source":"npz","train":"a\\u0000b"}'),
    body("bytes that are not UTF-8", b'{"name": "\xff\xfe"}'),
    body("UTF-16", json.dumps(JOB).encode("utf-16")),
    body("UTF-32", json.dumps(JOB).encode("utf-32")),
    body("UTF-8 that is longer than it needs to be", b'{"name": "\xc0\xaf"}'),
    body("a mark of byte order", b"\xef\xbb\xbf" + json.dumps(JOB).encode()),
    body("a body that is cut", json.dumps(JOB).encode()[:-1]),
    body("two bodies in one", json.dumps(JOB) * 2),
    body("single quotes", str(JOB)),
    body("a comma too many", json.dumps(JOB)[:-1] + ",}"),
    body("a comment", json.dumps(JOB)[:-1] + "/* */}"),
    body("YAML with a tag that makes objects", "!!python/object/apply:os.system ['id']"),
    body("XML with an entity bomb", '<!DOCTYPE a [<!ENTITY b "cc">]><a>&b;</a>'),
    body("a pickle", b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R."),
    body("a gzip", b"\x1f\x8b\x08\0\0\0\0\0"),
    body("a zip", b"PK\x03\x04"),
    body("one NUL", b"\0"),
    body("white space", " \n"),
    body("a number for a job", "7", code="invalid_spec"),
    body("a list for a job", "[]", code="invalid_spec"),
    body("a text for a job", '"job"', code="invalid_spec"),
    body("null for a job", "null", code="invalid_spec"),
    body("nothing for a job", "", code="invalid_spec"),
    body("a form", "name=hostile", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    body("several parts", "--x\r\n\r\n--x--", headers={"Content-Type": "multipart/form-data; boundary=x"}),
    body("JSON that is called text", json.dumps(JOB), code="invalid_spec", headers={"Content-Type": "text/plain"}),
    body("JSON that is called nothing", json.dumps(JOB), code="invalid_spec", headers={"Content-Type": ""}),
    *(job(f"a {key} of a wrong type", **{key: [[]]}) for key in (
        "version", "name", "labels", "dataset", "student", "teachers", "ensemble", "scheme", "training", "answers",
        "evaluation", "compute", "limits")),
    job("an objective that is a text", objective="labels"),
    job("a thousand terms", objective=[{"kind": "labels"}] * 1000),
    job("a thousand teachers", teachers=[{"name": "wise@1"}] * 1000),
    job("a thousand marks", labels={str(i): "x" for i in range(1000)}),
    job("an unknown version", version=2),
    job("a name with dots", name="../../etc"),
    job("a name with a line end", name="a\nb"),
    job("a name that ends with a line end", name="hostile\n"),
    job("a name of Redis keys", name="stillhouse:job:x"),
    job("a name with a wildcard", name="*"),
    job("a name in capitals of another script", name="\u041d\u041e"),
    job("an epoch less than one", training={"epochs": 0}),
    job("epochs without end", training={"epochs": 10**9}),
    job("half an epoch", training={"epochs": 1.5}),
    job("a negative seed", training={"seed": -1}),
    job("a learning rate of 0", training={"optimizer": {"kind": "sgd", "lr": 0}}),
    job("an optimizer that is code", training={"optimizer": {"kind": "__import__('os')"}}),
    job("a million workers", compute={"workers": 10**6}),
    job("negative CPUs", compute={"cpus_per_worker": -1}),
    job("a key of the class itself", __class__="x"),
    job("a key that would spoil a prototype", __proto__={"admin": True}),
    job("a state of the record", state="SUCCEEDED"),
    job("another team's name", team="admin"),
    job("an address for data", dataset={"source": "http://169.254.169.254/latest/meta-data"}),
    job("an address of a bucket", dataset=NPZ | {"source": "s3"}),
    data_path("a path with dots", "../outside.npz"),
    data_path("a path with many dots", "../" * 40 + "etc/passwd"),
    data_path("dots behind a folder", "inside/../../outside.npz"),
    data_path("an absolute path", "/etc/passwd"),
    data_path("a path with two slashes", "//etc/passwd"),
    data_path("a device", "/dev/zero"),
    data_path("this process's own environment", "/proc/self/environ"),
    data_path("an address of a file", "file:///etc/passwd"),
    data_path("an address of the web", "http://127.0.0.1:6379/"),
    data_path("an address of a cloud's own door", "http://169.254.169.254/latest/meta-data"),
    data_path("a path of another system", "..\\..\\windows\\win.ini"),
    data_path("a path that is encoded", "%2e%2e/%2e%2e/etc/passwd"),
    data_path("a path of a home", "~/x.npz"),
    data_path("a path with a variable", "$HOME/x.npz"),
    data_path("a path that runs a command", "$(id).npz"),
    data_path("a path of 300 characters in one name", "x" * 300),
    data_path("a path of 2,000 characters", "x/" * 1000),
    data_path("an empty path", ""),
    data_path("a pipe in the root", "pipe.npz"),
    data_path("a link to a device", "zero.npz"),
    data_path("a link out of the root", "link.npz"),
    data_path("a folder that links out of the root", "linked/passwd"),
    data_path("links in a circle", "circle.npz"),
    data_path("a path below a file", "evil.npz/x"),
    *(plugin(path) for path in (
        "os", "os:", ":system", "os:path.join", "os.path:join.__globals__", "os system", "../evil:run", "evil/x:run",
        "http://evil/x:run", "os:system()", "os:__class__\n", "a" * 300 + ":b", "os::system", "0s:x", "os:sys-tem")),
    job("a model type that is a path", student={"source": "transformers", "model_type": "../evil"}),
    job("a model type of an address", student={"source": "transformers", "model_type": "http://evil"}),
    job("weights of a job that is a path", student=JOB["student"] | {"init_from": {"source": "job", "job": "../x"}}),
    job("weights at a path with dots", student=JOB["student"] | {"init_from": {"source": "file", "path": "../x"}}),
    job("a folder of weights that is a device", student={
        "source": "transformers", "model_type": "vit", "init_from": {"source": "folder", "path": "/dev"}}),
    job("a layer's name of 10,000 characters", objective=[
        {"kind": "hint", "pairs": [{"student": "x" * 10_000, "teacher": "y"}]}]),
    member("a member of images whose sizes are texts", input=FILE["input"] | {"height": "eight"}),
    member("a member at a path with dots", path="../x.safetensors"),
    member("a member that is a device", path="/dev/zero"),
    member("a member that is a pipe", path="pipe.npz"),
    member("a member of images without end", input=FILE["input"] | {"height": 2**62}),
    member("a member of images of a terabyte", input=FILE["input"] | {"height": 2**20, "width": 2**20}),
    member("a member of rows of no numbers", input={"kind": "vector", "features": 0, "mean": [0], "std": [1]}),
    member("a member without classes", classes=[]),
    member("a member of a source that isn't there", source="http"),
    body("a version of 100,000 members", json.dumps({"members": [{"job": "x"}] * 9000}),
         path="/v1/teachers/wise/versions", code="invalid_spec"),
    body("a teacher whose name is a path", '{"name": "../x"}', path="/v1/teachers", code="invalid_spec"),
    body("a description of 500,000 characters", json.dumps({"name": "x", "description": "x" * 500_000}),
         path="/v1/teachers", code="invalid_spec"),
    body("an alias to a version of 64 bits", '{"version": 9223372036854775807}', path="/v1/teachers/wise/aliases/prod",
         method="PUT", status=404, code="not_found"),
    body("an alias that is a number", '{"version": 1}', path="/v1/teachers/wise/aliases/7", method="PUT", code="invalid_spec"),
    body("an alias that is a path", '{"version": 1}', path="/v1/teachers/wise/aliases/%2e%2e%2fx", method="PUT",
         status=404, code="not_found"),
    body("a study of a million seeds", json.dumps({"name": "a", "job": JOB, "seeds": list(range(50_000))}),
         path="/v1/studies", code="invalid_spec"),
    body("a study of too many jobs", json.dumps(STUDY | {"seeds": list(range(60)), "sweep": [
        {"name": f"p{i}", "student": JOB["student"]} for i in range(60)]}), path="/v1/studies", code="invalid_spec"),
    body("a reservation of a path", '{"teacher": "../x@1", "rows_per_s": 1}', path="/v1/reservations", code="invalid_spec"),
    body("a reservation of infinite rows", '{"teacher": "wise@1", "rows_per_s": 1e400}', path="/v1/reservations"),
    body("a reservation of negative rows", '{"teacher": "wise@1", "rows_per_s": -1}',
         path="/v1/reservations", code="invalid_spec"),
    body("a body where none belongs, and no JSON", "x", path="/v1/jobs/any/cancel"),
)  # fmt: skip

LONG = "x" * 4000
ADDRESSES = (
    read("a job of dots", "/v1/jobs/..%2f..%2fetc%2fpasswd"),
    read("a job of encoded dots", "/v1/jobs/%2e%2e%2f%2e%2e"),
    read("a job of dots encoded twice", "/v1/jobs/%252e%252e%252f"),
    read("a job with a NUL", "/v1/jobs/a%00b"),
    read("a job with line ends", "/v1/jobs/a%0d%0aSet-Cookie:%20x=1"),
    read("a job of bytes that are not UTF-8", "/v1/jobs/%ff%fe"),
    read("a job of half a character", "/v1/jobs/%ed%a0%80"),
    read("a job of 4,000 characters", f"/v1/jobs/{LONG}"),
    read("a job of a Redis key", "/v1/jobs/x:inbox"),
    read("a job of a pattern", "/v1/jobs/*"),
    read("a job that turns right to left", "/v1/jobs/%e2%80%ae"),
    read("the events of a job of dots", "/v1/jobs/%2e%2e/events"),
    read("the log of a job of dots", "/v1/jobs/..%2f../logs"),
    read("a report's file of dots", "/v1/jobs/left/report/..%2f..%2fetc%2fpasswd"),
    read("a report's file with a NUL", "/v1/jobs/left/report/report%00.md"),
    read("a report's file that is absolute", "/v1/jobs/left/report/%2fetc%2fpasswd"),
    read("an artifact of dots", "/v1/jobs/left/artifacts/..%2f..%2fresult.json"),
    read("an artifact with a NUL", "/v1/jobs/left/artifacts/student.bin%00"),
    read("an artifact of 4,000 characters", f"/v1/jobs/left/artifacts/{LONG}"),
    read("a study of dots", "/v1/studies/..%2f.."),
    read("a teacher of dots", "/v1/teachers/..%2f.."),
    read("a reservation of dots", "/v1/reservations/..%2f.."),
    read("a version of 5,000 digits", "/v1/teachers/wise/versions/" + "9" * 5000, 422, "invalid_spec"),
    read("a version of 64 bits", "/v1/teachers/wise/versions/9223372036854775808"),
    read("a version below one", "/v1/teachers/wise/versions/-1"),
    read("a version that is a word", "/v1/teachers/wise/versions/latest", 422, "invalid_spec"),
    read("a limit of 0", "/v1/jobs?limit=0", 422, "invalid_spec"),
    read("a limit without end", "/v1/jobs?limit=" + "9" * 4000, 422, "invalid_spec"),
    read("a limit of infinity", "/v1/jobs?limit=inf", 422, "invalid_spec"),
    read("a cursor that is no cursor", "/v1/jobs?cursor=%00%ff", 422, "invalid_spec"),
    read("a cursor of bytes that are no text", "/v1/jobs?cursor=_____w", 422, "invalid_spec"),
    read("a cursor of 4,000 characters", f"/v1/jobs?cursor={LONG}", 422, "invalid_spec"),
    read("a state that isn't one", "/v1/jobs?state=ADMIN", 422, "invalid_spec"),
    read("a study to list of 4,000 characters", f"/v1/jobs?study={LONG}", 422, "invalid_spec"),
    read("an offset of 30 digits", "/v1/jobs/left/logs?offset=" + "9" * 30, 422, "invalid_spec"),
    read("an offset below 0", "/v1/jobs/left/logs?offset=-1", 422, "invalid_spec"),
    read("an attempt of 30 digits", "/v1/jobs/left/logs?attempt=" + "9" * 30, 422, "invalid_spec"),
    read("a page of a gigabyte", "/v1/jobs/left/logs?limit=1073741824", 422, "invalid_spec"),
    read("a report of another format", "/v1/jobs/left/report?format=pickle", 422, "invalid_spec"),
    read("a month of a path", "/v1/usage?month=../..", 422, "invalid_spec"),
    read("a month with a line end", "/v1/usage?month=2026-11%0a", 422, "invalid_spec"),
    read("a month in digits of another script", "/v1/usage?month=%d9%a2%d9%a0%d9%a2%d9%a6-11", 422, "invalid_spec"),
    read("a team of a pattern", "/v1/usage?team=*", 422, "invalid_spec"),
    read("a team with a colon", "/v1/usage?team=a:b", 422, "invalid_spec"),
    read("a last event that is a word", "/v1/jobs/left/events", 422, "invalid_spec", headers={"Last-Event-ID": "yesterday"}),
    read("a last event of 30 digits", "/v1/jobs/left/events", 422, "invalid_spec", headers={"Last-Event-ID": "9" * 30 + "-0"}),
    read("a last event just beyond 64 bits", "/v1/jobs/left/events", 422, "invalid_spec",
         headers={"Last-Event-ID": "18446744073709551616-0"}),
    read("a last event of 4,000 digits", "/v1/jobs/left/events", 422, "invalid_spec", headers={"Last-Event-ID": "9" * 4000}),
    read("a last event below 0", "/v1/jobs/left/events", 422, "invalid_spec", headers={"Last-Event-ID": "-1"}),
    read("a last event of digits that are none", "/v1/jobs/left/events", 422, "invalid_spec",
         headers={"Last-Event-ID": "\xb2-\xb3"}),
    read("a last event that means the end", "/v1/jobs/left/events", 422, "invalid_spec", headers={"Last-Event-ID": "$"}),
    read("a path that isn't there", "/v1/../admin"),
    read("a path of the source", "/services/control_plane/main.py"),
    HostileRequest("a method that isn't one", None, "/v1/jobs", 405, "method_not_allowed", "TRACE"),
    HostileRequest("a method of its own", None, "/v1/jobs", 405, "method_not_allowed", "HOSTILE"),
    HostileRequest("a change of what can't be changed", b"{}", "/v1/jobs/left", 405, "method_not_allowed", "PATCH"),
    HostileRequest("a method that is overridden", b"{}", "/v1/jobs/left", 405, "method_not_allowed", "POST",
                   {"X-HTTP-Method-Override": "DELETE"} | JSON),
)  # fmt: skip
