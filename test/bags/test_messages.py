import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bags.sample_bags import header, image, transform
from occ_perception.bags.messages import MessageTypes, definition_file
from occ_perception.core.errors import BagError

TYPES = MessageTypes()


def test_own_messages_are_found_without_ros():
    TYPES.require("occ_msgs/msg/VoxelGrid")
    assert definition_file("occ_msgs/msg/VoxelGrid").read_text().count("uint8[]") == 3


def test_unknown_package_is_named():
    with pytest.raises(BagError, match="install the package no_such_msgs"):
        TYPES.require("no_such_msgs/msg/Thing")


def test_nested_types_of_a_package_come_along():
    message = TYPES.build("occ_msgs/msg/FrameLatency", {"stages": [{"stage": "infer"}]})
    assert message.stages[0].stage == "infer"
    assert message.stages[0].seconds == 0.0


def test_fields_survive_encoding():
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    data = TYPES.encode(
        "occ_msgs/msg/VoxelGrid", {"size_x": 2, "size_y": 3, "size_z": 4, "labels": labels}
    )
    grid = TYPES.decode("occ_msgs/msg/VoxelGrid", data)
    assert (grid.labels.reshape(2, 3, 4) == labels).all()
    assert grid.probability.size == 0


def test_bytes_are_taken_as_array_contents():
    data = TYPES.encode("sensor_msgs/msg/CompressedImage", {"format": "png", "data": b"\x89PNG"})
    assert bytes(TYPES.decode("sensor_msgs/msg/CompressedImage", data).data) == b"\x89PNG"


def test_misspelt_field_is_named():
    with pytest.raises(BagError, match="no field widthh"):
        TYPES.build("sensor_msgs/msg/Image", {"widthh": 3})


def test_impossible_value_is_refused():
    with pytest.raises(BagError, match="impossible value"):
        TYPES.encode("sensor_msgs/msg/Image", {"width": "three"})


def test_wrong_bytes_are_refused():
    with pytest.raises(BagError, match="no valid sensor_msgs/msg/Image"):
        TYPES.decode("sensor_msgs/msg/Image", b"\x00\x01\x00\x00abc")


@given(
    sec=st.integers(-(2**31), 2**31 - 1),
    nanosec=st.integers(0, 999_999_999),
    big_endian=st.booleans(),
)
def test_stamp_is_read_from_the_bytes(sec, nanosec, big_endian):
    stamp = sec * 10**9 + nanosec
    for msgtype, fields in (
        ("sensor_msgs/msg/Image", image(stamp, 1)),
        ("tf2_msgs/msg/TFMessage", transform(stamp, "x")),
        ("occ_msgs/msg/FrameLatency", {"header": header(stamp)}),
    ):
        message = TYPES.build(msgtype, fields)
        data = bytes(TYPES.store.serialize_cdr(message, msgtype, little_endian=not big_endian))
        assert TYPES.stamp_ns(msgtype, data) == stamp


@pytest.mark.parametrize(
    ("msgtype", "fields"),
    [("std_msgs/msg/String", {"data": "x" * 50}), ("tf2_msgs/msg/TFMessage", {})],
)
def test_no_stamp_where_there_is_none(msgtype, fields):
    assert TYPES.stamp_ns(msgtype, TYPES.encode(msgtype, fields)) is None
