"""Kinds of topics and their quality of service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from occ_perception.bags import topics
from occ_perception.bags.topics import TopicKind, TopicQos


@pytest.mark.parametrize(
    ("topic", "msgtype", "kind"),
    [
        ("/tf", "tf2_msgs/msg/TFMessage", TopicKind.TF),
        ("/tf_static", "tf2_msgs/msg/TFMessage", TopicKind.TF_STATIC),
        ("/robot/tf_static", "tf2_msgs/msg/TFMessage", TopicKind.TF_STATIC),
        ("/a/image_rect", "sensor_msgs/msg/Image", TopicKind.IMAGE),
        ("/a/image_rect/compressed", "sensor_msgs/msg/CompressedImage", TopicKind.COMPRESSED_IMAGE),
        ("/a/camera_info", "sensor_msgs/msg/CameraInfo", TopicKind.CAMERA_INFO),
        ("/n/voxels", "occ_msgs/msg/VoxelGrid", TopicKind.VOXELS),
        ("/n/points", "sensor_msgs/msg/PointCloud2", TopicKind.POINTS),
        ("/rosout", "rcl_interfaces/msg/Log", TopicKind.OTHER),
    ],
)
def test_kinds(topic, msgtype, kind):
    assert topics.kind_of(topic, msgtype) is kind


offers = st.builds(TopicQos, st.booleans(), st.booleans(), st.integers(1, 1000))


@given(offers)
def test_qos_survives_a_bag(qos):
    assert topics.from_rosbags(topics.to_rosbags(qos)) == qos


@given(st.lists(offers, min_size=1))
def test_joined_offer_serves_every_reader_that_one_of_them_serves(several):
    joined = topics.combined(several)
    for offer in several:
        assert joined.reliable >= offer.reliable
        assert joined.latched >= offer.latched
        assert joined.depth >= offer.depth


def test_no_offer_is_not_an_offer():
    assert topics.combined([]) is None
    assert topics.default_qos("/tf_static").latched
    assert not topics.default_qos("/tf").latched
