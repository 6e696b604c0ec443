"""The interface files: documented field by field, built completely, the same on every route."""

import array
import re

import numpy as np
import pytest

INTERFACES = ["FrameLatency", "LabelMap", "SemanticGaussians", "StageTime", "VoxelGrid"]
SERVICES = ["QueryText", "SetPrompts"]


def undocumented_fields(text):
    """Lines of an interface file that declare something without a comment directly above."""
    lines = [line.strip() for line in text.splitlines()]
    declares = [bool(line) and line != "---" and not line.startswith("#") for line in lines]
    return [
        line
        for above, line, declared in zip(["", *lines], lines, declares, strict=False)
        if declared and not above.startswith("#")
    ]


def interface_files(repository):
    return sorted((repository / "occ_msgs").glob("[ms]*/*.[ms]*"))


def test_the_check_for_comments_sees_a_bare_field():
    assert undocumented_fields("# said\nuint8 a\nuint8 b\n---\n# said\nuint8 c") == ["uint8 b"]


def test_every_field_has_a_comment(repository):
    bare = {
        path.name: undocumented_fields(path.read_text()) for path in interface_files(repository)
    }
    assert {path.stem for path in interface_files(repository)} == {*INTERFACES, *SERVICES}
    assert not any(bare.values()), bare


def test_every_array_says_what_empty_means(repository):
    for path in interface_files(repository):
        for paragraph in path.read_text().split("\n\n"):
            if re.search(r"^[\w/]+\[\] ", paragraph, re.MULTILINE):
                assert "mpty" in paragraph, f"{path.name}: {paragraph}"


def test_cmake_builds_exactly_the_files_that_are_there(repository):
    listed = re.findall(
        r"(?:msg|srv)/\w+\.\w+", (repository / "occ_msgs/CMakeLists.txt").read_text()
    )
    there = [str(p.relative_to(repository / "occ_msgs")) for p in interface_files(repository)]
    assert sorted(listed) == sorted(there)


@pytest.mark.ros
def test_a_marked_voxel_survives_the_wire():
    from rclpy.serialization import deserialize_message, serialize_message

    from occ_msgs.msg import VoxelGrid

    labels = np.zeros((5, 4, 3), np.uint8)
    labels[3, 1, 2] = 7
    grid = VoxelGrid(size_x=5, size_y=4, size_z=3, resolution=0.5, label_map="semantickitti")
    grid.origin.position.x = -2.0
    grid.labels.frombytes(labels)

    back = deserialize_message(serialize_message(grid), VoxelGrid)

    assert back == grid
    # The index formula that VoxelGrid.msg states.
    assert back.labels[((3 * back.size_y) + 1) * back.size_z + 2] == 7
    assert sum(back.labels) == 7
    assert not back.probability and not back.known


@pytest.mark.ros
def test_a_field_of_the_wrong_type_is_refused():
    from occ_msgs.msg import VoxelGrid

    with pytest.raises(AssertionError, match="resolution"):
        VoxelGrid().resolution = 1
    with pytest.raises(AssertionError, match="labels"):
        VoxelGrid().labels = array.array("f", [1.0])


def hashes_on_the_wire(types):
    """Type hash per interface name, as a publisher of the built package announces it."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = rclpy.create_node("hashes", context=context)
        for name, kind in types.items():
            node.create_publisher(kind, f"/{name}", 1)
        found = {name: node.get_publishers_info_by_topic(f"/{name}") for name in types}
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    return {name: str(endpoints[0].topic_type_hash) for name, endpoints in found.items()}


@pytest.mark.ros
def test_type_hashes_of_bags_are_those_of_the_built_packages(repository):
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    from tf2_msgs.msg import TFMessage

    from occ_msgs import msg

    store = get_typestore(Stores.ROS2_JAZZY)
    for name in INTERFACES:
        text = (repository / f"occ_msgs/msg/{name}.msg").read_text()
        store.register(get_types_from_msg(text, f"occ_msgs/msg/{name}"))

    wire = hashes_on_the_wire({n: getattr(msg, n) for n in INTERFACES} | {"TFMessage": TFMessage})

    # The store brings the original tf2_msgs, ours comes from occ_msgs/pip.
    assert wire.pop("TFMessage") == store.hash_rihs01("tf2_msgs/msg/TFMessage")
    assert wire == {name: store.hash_rihs01(f"occ_msgs/msg/{name}") for name in INTERFACES}


@pytest.mark.ros
def test_services_are_built():
    from occ_msgs.srv import QueryText, SetPrompts

    assert SetPrompts.Response(active=["car"]).active == ["car"]
    assert len(QueryText.Response().grid.labels) == 0
