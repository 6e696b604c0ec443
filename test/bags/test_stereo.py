"""The stereo pair of a bag."""

import pytest

from bags.sample_bags import START_NS, camera_info, image, write_stereo_bag
from occ_perception.bags.calibrated import info_topic
from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import find_stereo
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError


def write_cameras(path, cameras, with_info=True, compressed=False):
    """One message per camera; `cameras` maps image topics to Tx."""
    with BagWriter(path) as bag:
        for topic, tx in cameras.items():
            if compressed:
                picture = {"format": "png", "data": b"x"}
                bag.write_message(topic, "sensor_msgs/msg/CompressedImage", START_NS, picture)
            else:
                bag.write_message(topic, "sensor_msgs/msg/Image", START_NS, image(START_NS, 0))
            if with_info:
                name, info = info_topic(topic), camera_info(START_NS, tx)
                bag.write_message(name, "sensor_msgs/msg/CameraInfo", START_NS, info)
    return path


def stereo_of(path):
    with BagReader(path) as bag:
        return find_stereo(bag)


def test_stereo_by_name(tmp_path):
    stereo = stereo_of(write_stereo_bag(tmp_path / "bag", frames=1))
    assert stereo.left_image == "/camera/left/image_rect"
    assert stereo.right_info == "/camera/right/camera_info"
    assert not stereo.compressed


def test_stereo_by_baseline_where_names_say_nothing(tmp_path):
    cameras = {"/cam3/image_rect": -340.0, "/cam2/image_rect": 44.0}
    stereo = stereo_of(write_cameras(tmp_path / "bag", cameras))
    assert (stereo.left_image, stereo.right_image) == ("/cam2/image_rect", "/cam3/image_rect")


def test_compressed_images_share_the_camera_info_of_their_camera(tmp_path):
    cameras = {"/left/image_rect/compressed": 0.0, "/right/image_rect/compressed": -300.0}
    stereo = stereo_of(write_cameras(tmp_path / "bag", cameras, compressed=True))
    assert stereo.compressed
    assert stereo.left_info == "/left/camera_info"


def test_rectified_images_win_over_raw_ones(tmp_path):
    sides = {"left": 0.0, "right": -9.0}
    cameras = {f"/{s}/{n}": tx for s, tx in sides.items() for n in ("image_raw", "image_rect")}
    assert stereo_of(write_cameras(tmp_path / "bag", cameras)).left_image == "/left/image_rect"


def test_ground_truth_images_are_no_cameras(tmp_path):
    cameras = {"/left/image": 0.0, "/right/image": -9.0, "/ground_truth/left/depth": 0.0}
    assert stereo_of(write_cameras(tmp_path / "bag", cameras)).left_image == "/left/image"


def test_two_pairs_are_ambiguous(tmp_path):
    pairs = {
        f"/{c}/{s}/image": tx
        for c in ("grey", "colour")
        for s, tx in (("left", 0.0), ("right", -1.0))
    }
    with pytest.raises(BagError, match=r"2 stereo pairs.*/grey/left/image.*/colour/right/image"):
        stereo_of(write_cameras(tmp_path / "bag", pairs))


def test_images_without_camera_info_are_listed(tmp_path):
    cameras = {"/left/image": 0.0, "/right/image": -9.0}
    with pytest.raises(BagError, match=r"no stereo pair.*/left/image, /right/image; .*none"):
        stereo_of(write_cameras(tmp_path / "bag", cameras, with_info=False))


def test_cameras_without_baseline_are_no_pair(tmp_path):
    with pytest.raises(BagError, match="no stereo pair"):
        stereo_of(write_cameras(tmp_path / "bag", {"/a/image": 0.0, "/b/image": 0.0}))


@pytest.mark.parametrize("tx", [(0.0, float("nan")), (float("nan"), float("nan"))])
def test_a_calibration_of_nan_is_named(tmp_path, tx):
    cameras = dict(zip(("/left/image_rect", "/right/image_rect"), tx, strict=True))
    with pytest.raises(BagError, match=r"P is zero or NaN in .*/right/camera_info; calibrate"):
        stereo_of(write_cameras(tmp_path / "bag", cameras))


def test_names_that_contradict_the_calibration_are_refused(tmp_path):
    cameras = {"/left/image": -300.0, "/right/image": 0.0}
    with pytest.raises(BagError, match="/left/image is the right camera"):
        stereo_of(write_cameras(tmp_path / "bag", cameras))


def test_real_stereo_bag(shared_dir):
    stereo = stereo_of(shared_dir / "data/rosbag2_from_real/kitti_06")
    assert stereo.left_image == "/camera/left/image_rect/compressed"
    assert stereo.right_image == "/camera/right/image_rect/compressed"
    assert stereo.compressed


def test_six_cameras_around_a_car_are_no_pair(shared_dir):
    with pytest.raises(BagError, match="no stereo pair"):
        stereo_of(shared_dir / "data/rosbag2_from_real/nuscenes_scene_0061")
