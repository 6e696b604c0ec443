import numpy as np
import pytest

from occ_perception.bags.index import MessageStore, open_index
from occ_perception.bags.transforms import TransformTable
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import TransformError
from occ_perception.geometry.transforms import quaternion_from_matrix, rotation_rpy, transform

TF = "tf2_msgs/msg/TFMessage"


def item(T, stamp_ns, parent, child):
    q = quaternion_from_matrix(T[:3, :3])
    return {
        "header": {
            "frame_id": parent,
            "stamp": {"sec": stamp_ns // 10**9, "nanosec": stamp_ns % 10**9},
        },
        "child_frame_id": child,
        "transform": {
            "translation": dict(zip("xyz", T[:3, 3], strict=True)),
            "rotation": dict(zip("xyzw", q, strict=True)),
        },
    }


def table(path, static=(), moving=()):
    with BagWriter(path) as bag:
        for topic, items in (("/tf_static", static), ("/tf", moving)):
            for entry in items:
                bag.write_message(topic, TF, entry[1], {"transforms": [item(*entry)]})
    index = open_index(path)
    return TransformTable.of_bag(index, MessageStore(index.files))


def pose(x, yaw):
    T = transform((x, 0.5, 0))
    T[:3, :3] = rotation_rpy(0, 0, yaw)
    return T


@pytest.fixture
def drive(tmp_path):
    static = [(pose(1, 0.3), 0, "base_link", "camera")]
    moving = [(pose(10 * i, 0.1 * i), i * 10**8, "odom", "base_link") for i in (0, 1, 2, 9)]
    return table(tmp_path / "bag", static, moving)


def test_poses_at_and_between_stamps(drive):
    gap = 2 * 10**8
    np.testing.assert_allclose(drive.at("odom", "base_link", 10**8, 0), pose(10, 0.1), atol=1e-12)
    half = drive.at("odom", "base_link", 15 * 10**7, gap)
    np.testing.assert_allclose(half, pose(15, 0.15), atol=1e-12)
    camera = drive.at("camera", "odom", 10**8, gap)
    np.testing.assert_allclose(np.linalg.inv(camera), pose(10, 0.1) @ pose(1, 0.3), atol=1e-12)


def test_no_guess_outside_or_over_long_gaps(drive):
    with pytest.raises(TransformError, match=r"0\.700 s apart"):
        drive.at("odom", "base_link", 5 * 10**8, 2 * 10**8)
    with pytest.raises(TransformError, match="outside of the poses"):
        drive.at("odom", "base_link", 10**9, 2 * 10**8)
    asked = np.array([0, 15 * 10**7, 5 * 10**8, 9 * 10**8, 10**9, -5])
    covered = drive.covers("odom", "camera", asked, 2 * 10**8)
    assert covered.tolist() == [True, True, False, True, False, False]


def test_what_moves_is_not_fixed(drive):
    np.testing.assert_allclose(drive.fixed("base_link", "camera"), pose(1, 0.3), atol=1e-12)
    with pytest.raises(TransformError, match="moves"):
        drive.fixed("odom", "camera")
    with pytest.raises(TransformError, match="its frames: base_link, camera, odom"):
        drive.fixed("odom", "lidar")


def test_a_sensor_published_on_tf_is_fixed_while_it_sits_still(tmp_path):
    still = [(pose(1 + 1e-4 * i, 0.3), i, "base_link", "camera") for i in range(3)]
    assert table(tmp_path / "a", moving=still).fixed("base_link", "camera")[0, 3] == 1
    turned = [(pose(1, 0.3 + 1e-3 * i), i, "base_link", "camera") for i in range(3)]
    with pytest.raises(TransformError, match="moves"):
        table(tmp_path / "b", moving=turned).fixed("base_link", "camera")


def test_contradictions_are_refused(tmp_path):
    twice = [(pose(1, 0), 0, "base_link", "camera"), (pose(2, 0), 1, "base_link", "camera")]
    with pytest.raises(TransformError, match="two different poses"):
        table(tmp_path / "a", static=twice)
    with pytest.raises(TransformError, match="two publishers"):
        table(tmp_path / "b", static=twice[:1], moving=[(pose(1, 0), 0, "odom", "camera")])
    loop = [(pose(1, 0), 0, "a", "b"), (pose(1, 0), 0, "b", "a")]
    with pytest.raises(TransformError, match="hangs on itself"):
        table(tmp_path / "c", static=loop)
