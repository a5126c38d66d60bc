"""What a node's environment says."""

from pathlib import Path

from distill.contracts.settings import NodeSettings

NODE = NodeSettings(
    redis_url="redis://:secret@there:6379/0",
    door_redis_url="redis://door:another@there:6379/0",
    storage=Path("/storage"),
    data_root=Path("/data"),
    cache=Path("/cache"),
    fashion_mnist=Path("/fashion"),
    plugins=("ours.nets:small",),
    dataset_bytes=2**21,
    answers_memory_bytes=2**22,
    answers_disk_bytes=2**23,
)


def test_all_of_it_goes_on_to_what_the_node_starts():
    assert set(NodeSettings.model_fields) == NODE.model_fields_set
    assert NodeSettings.from_environment(NODE.to_environment()) == NODE


def test_without_a_user_of_its_own_the_door_has_none_to_name():
    plain = NodeSettings.from_environment({"STILLHOUSE_REDIS_URL": "redis://", "STILLHOUSE_STORAGE": "/s"})
    assert plain.door_redis_url is None
    assert "STILLHOUSE_DOOR_REDIS_URL" not in plain.to_environment()
