import numpy as np
import pytest
from training.convert.conversions import Opened, convert_all, stamp_of
from training.convert.small_trees import (
    HEIGHT,
    PERIOD_NS,
    RAW_IMU,
    RAW_R_RECT,
    RAW_VELO,
    START_NS,
    WIDTH,
    base_pose,
    kitti_calibration,
    raw_frames,
    write_raw,
)

from occ_perception.bags.images import decode_values
from occ_perception.geometry.transforms import inverse, transform
from occ_training.convert.content import rigid
from occ_training.convert.kitti_raw import find_drives
from occ_training.convert.report import DatasetError
from occ_training.convert.trees.files import write_png

NAME = "kitti_raw_2030_01_01_drive_9000_sync"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_raw(tmp_path_factory.mktemp("raw"), raw_frames())


@pytest.fixture(scope="module")
def bag(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("bags")
    assert convert_all(find_drives(tree), out)[NAME].problems == []
    return Opened(out / NAME)


def test_every_sensor_keeps_its_own_nanoseconds(bag):
    for number, topic in enumerate(("/camera/left", "/camera/right", "/camera_color/left")):
        stamps = bag.stamps(f"{topic}/image_rect/compressed")
        assert stamps == [START_NS + i * PERIOD_NS + number for i in range(4)]
    assert bag.stamps("/velodyne/points") == [START_NS + i * PERIOD_NS + 3 for i in range(4)]
    assert bag.stamps("/imu/data") == [START_NS + i * PERIOD_NS + 7 for i in range(4)]


def test_the_projection_chain(bag):
    """P_rect * R_rect * T_cam0_velo, as the data set's paper has it."""
    point = np.array([15.0, 2.0, -0.5, 1.0])
    R = np.eye(4)
    R[:3, :3] = RAW_R_RECT
    for number, frame in ((0, "camera_left_optical"), (3, "camera_color_right_optical")):
        P = kitti_calibration()[f"P{number}"]
        expected = P @ rigid(R) @ RAW_VELO @ point
        ours = P[:, :3] @ (bag.transforms.fixed(frame, "velodyne") @ point)[:3]
        np.testing.assert_allclose(ours[:2] / ours[2], expected[:2] / expected[2], atol=1e-6)
    np.testing.assert_allclose(bag.transforms.fixed("velodyne", "imu_link"), RAW_IMU, atol=1e-12)


def test_oxts_give_poses_in_east_north_up(bag):
    T_base_imu = transform((0, 0, 1.73)) @ RAW_IMU
    expected = [base_pose(i) @ inverse(T_base_imu) for i in range(4)]
    origin = expected[0][:3, 3].copy()
    for i, stamp in enumerate(bag.stamps("/tf")):
        T = bag.transforms.at("map", "base_link", stamp, 0)
        expected[i][:3, 3] -= origin
        np.testing.assert_allclose(T, expected[i], atol=1e-6)


def test_imu_and_gps(bag):
    imu, fix = bag.messages("/imu/data")[1], bag.messages("/gps/fix")[1]
    assert (imu.linear_acceleration.x, imu.linear_acceleration.z) == (1.0, 9.8)
    assert imu.angular_velocity.z == 0.3
    assert imu.header.frame_id == "imu_link"
    assert fix.latitude == pytest.approx(49.0, abs=1e-4)
    assert stamp_of(fix) == stamp_of(imu)


def test_depth_maps_become_metres(tmp_path):
    tree = write_raw(tmp_path / "raw", raw_frames())
    values = np.zeros((HEIGHT, WIDTH), np.uint16)
    values[3, 4] = 256 * 7 + 64
    folder = next(tree.rglob("image_02")).parent / "proj_depth/groundtruth/image_02"
    write_png(folder / "0000000002.png", values)
    write_png(folder / "0000000003.png", values.astype(np.uint8))
    report = convert_all(find_drives(tree), tmp_path / "out")[NAME]
    (message,) = Opened(tmp_path / "out" / NAME).messages("/ground_truth/camera_color/left/depth")
    assert stamp_of(message) == START_NS + 2 * PERIOD_NS + 2
    depth_m = decode_values(message)
    assert depth_m[3, 4] == 7.25
    assert depth_m.sum() == 7.25
    assert "no depth map" in report.problems[0]


def test_missing_sweeps_leave_the_others_at_their_times(tmp_path):
    tree = write_raw(tmp_path / "raw", raw_frames())
    next(tree.rglob("velodyne_points/data/0000000001.bin")).unlink()
    report = convert_all(find_drives(tree), tmp_path / "out")[NAME]
    assert report.counts["/velodyne/points"] == 3
    assert "lacks 1 frames (1)" in report.problems[0]
    stamps = Opened(tmp_path / "out" / NAME).stamps("/velodyne/points")
    assert stamps[1] == START_NS + 2 * PERIOD_NS + 3


def test_orb_slam_poses_of_the_rectified_camera(tree, tmp_path):
    folder = tmp_path / "orb" / "2030_01_01"
    folder.mkdir(parents=True)
    step = transform((0.0, 0.0, 1.5))  # forward in a camera
    lines = [" ".join(map(str, T[:3].ravel())) for T in (np.eye(4), step, step @ step)]
    (folder / "2030_01_01_drive_9000_sync.txt").write_text("\n".join(lines))
    convert_all(find_drives(tree), tmp_path / "out", poses=tmp_path / "orb")
    opened = Opened(tmp_path / "out" / NAME)
    first, last = opened.stamps("/tf")[0], opened.stamps("/tf")[2]
    start = opened.transforms.at("odom", "camera_left_optical", first, 0)
    end = opened.transforms.at("odom", "camera_left_optical", last, 0)
    np.testing.assert_allclose(inverse(start) @ end, step @ step, atol=1e-9)


def test_calibration_alone_is_no_drive(shared_dir):
    with pytest.raises(DatasetError, match="has no drive of KITTI Raw"):
        find_drives(shared_dir / "data/kitti_raw")
