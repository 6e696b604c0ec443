"""Cameras from CameraInfo and TF: right place, right baseline, and every fault by name."""

import numpy as np
import pytest
from ros_free.stand_ins import TYPES, camera_info

from occ_perception.core.errors import CalibrationError, TransformError
from occ_perception.geometry.transforms import R_BODY_OPTICAL, inverse, quaternion_from_matrix
from occ_perception.ros import tf_rig
from occ_perception.ros.messages import transform_stamped
from occ_perception.sync.transforms_buffer import TransformBuffer
from occ_perception.systems.base import Needs

STEREO = Needs(cameras=("left", "right"), stereo=True)
P = np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]])
BASELINE_M = 0.54


def right_of(P_left):
    P_right = P_left.copy()
    P_right[0, 3] = -P_left[0, 0] * BASELINE_M
    return P_right


def pose(x, y, z, R=R_BODY_OPTICAL):
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = (x, y, z)
    return T


def rig(**options):
    buffer = TransformBuffer()
    buffer.set("velodyne", "left_optical", pose(0.3, 0.06, -0.08))
    buffer.set("velodyne", "right_optical", pose(0.3, 0.06 - BASELINE_M, -0.08))
    return buffer, tf_rig.CameraRig(STEREO, buffer, "velodyne", 0.0, **options)


def project(camera, point):
    in_camera = inverse(camera.T_base_cam) @ [*point, 1]
    u, v, depth = camera.P @ in_camera
    return u / depth, v / depth


def test_both_views_of_a_pair_see_a_point_where_geometry_says():
    _, cameras = rig()
    cameras.set_info("left", camera_info(P, 1200, 370, "left_optical"))
    cameras.set_info("right", camera_info(right_of(P), 1200, 370, "right_optical"))
    point = (10.3, 1.06, 0.92)  # in the camera: 10 m ahead, 1 m left, 1 m above
    u, v = project(cameras.camera("left", 0), point)
    assert (u, v) == pytest.approx((600 - 70, 180 - 70))
    u_right, v_right = project(cameras.camera("right", 0), point)
    assert (u_right, v_right) == pytest.approx((600 - 70 - 70 * BASELINE_M, 180 - 70))


def test_a_baseline_that_only_tf_knows_is_taken_from_there():
    _, cameras = rig()
    cameras.set_info("left", camera_info(P, 1200, 370, "left_optical"))
    cameras.set_info("right", camera_info(P, 1200, 370, "right_optical"))
    np.testing.assert_allclose(cameras.camera("right", 0).P, right_of(P))


@pytest.mark.parametrize(
    "T",
    [
        pose(0.3, 0.06 + BASELINE_M, -0.08),
        pose(0.3, -0.5, 0.2),
        pose(0.3, -0.5, -0.08, np.eye(3)),
    ],
)
def test_two_cameras_that_are_no_rectified_pair_are_refused(T):
    buffer, cameras = rig()
    buffer.set("velodyne", "right_optical", T)
    cameras.set_info("left", camera_info(P, 1200, 370, "left_optical"))
    cameras.set_info("right", camera_info(P, 1200, 370, "right_optical"))
    with pytest.raises(CalibrationError, match="no rectified pair"):
        cameras.camera("right", 0)


def test_the_same_calibration_is_the_same_object_and_a_new_one_is_not():
    buffer, cameras = rig()
    cameras.set_info("left", camera_info(P, 1200, 370, "left_optical"))
    first = cameras.camera("left", 0)
    cameras.set_info("left", camera_info(P, 1200, 370, "left_optical"))
    assert cameras.camera("left", 100) is first
    buffer.set("velodyne", "left_optical", pose(0, 0, 0))
    assert cameras.camera("left", 100) is not first
    cameras.set_info("left", camera_info(2 * P, 1200, 370, "left_optical"))
    assert cameras.camera("left", 100).P[0, 0] == 1400


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (camera_info(0 * P, 1200, 370, "left_optical"), ["'left' is uncalibrated", "calibrate"]),
        (camera_info(np.nan * P, 1200, 370, "left_optical"), ["'left'", "NaN"]),
        (camera_info(P, 0, 0, "left_optical"), ["'left'", "0x0"]),
        (
            camera_info(0 * P, 1200, 370, "left_optical", K=P[:, :3], d=(0.1, 0, 0, 0, 0)),
            ["'left'", "P of zeros"],
        ),
    ],
)
def test_unusable_calibrations_are_refused_by_name(info, words):
    _, cameras = rig()
    cameras.set_info("left", info)
    with pytest.raises(CalibrationError) as caught:
        cameras.camera("left", 0)
    for word in words:
        assert word in str(caught.value)


def test_undistorted_intrinsics_stand_in_for_a_missing_projection():
    info = camera_info(0 * P, 1200, 370, "left_optical", K=P[:, :3])
    np.testing.assert_array_equal(tf_rig.projection(info, "left"), P)


def test_a_missing_calibration_and_a_missing_transform_are_told_apart(monkeypatch):
    monkeypatch.setattr(tf_rig, "_FIRST_INFO_S", 0.0)
    _, cameras = rig()
    with pytest.raises(CalibrationError, match="'left' has no CameraInfo"):
        cameras.camera("left", 0)
    cameras.set_info("left", camera_info(P, 1200, 370, "elsewhere"))
    with pytest.raises(TransformError, match="'elsewhere' does not exist"):
        cameras.camera("left", 0)


def test_region_of_interest_and_binning_are_applied():
    info = camera_info(P, 1200, 370, "left_optical")
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 20, 800, 300
    info.binning_x = info.binning_y = 2
    camera = tf_rig.camera_of(info, "left")
    assert (camera.width, camera.height) == (400, 150)
    assert camera.P[0, 0] == 350
    assert camera.P[0, 2] == pytest.approx((600 - 100 + 0.5) / 2 - 0.5)


def test_transform_messages_reach_the_buffer_and_broken_ones_are_told():
    buffer = TransformBuffer()
    good = transform_stamped(TYPES, 5, "base", "cam", pose(1, 2, 3))
    broken = transform_stamped(TYPES, 5, "base", "bad", pose(1, 2, 3))
    broken.transform.rotation = type(broken.transform.rotation)()  # all zeros
    message = type("TF", (), {"transforms": [good, broken]})()
    (sentence,) = tf_rig.feed(buffer, message, is_static=False)
    assert "'base' -> 'bad'" in sentence and "not a rotation" in sentence
    np.testing.assert_allclose(buffer.lookup("base", "cam", 5), pose(1, 2, 3), atol=1e-12)
    np.testing.assert_allclose(
        quaternion_from_matrix(buffer.lookup("base", "cam", 5)[:3, :3]),
        quaternion_from_matrix(R_BODY_OPTICAL),
    )


def test_distortion_beside_an_unrectified_topic_is_warned_about():
    info = camera_info(P, 1200, 370, "left_optical", d=(0.1, 0, 0, 0, 0))
    assert "does not look rectified" in tf_rig.distortion_warning("left", "/cam/image_raw", info)
    assert not tf_rig.distortion_warning("left", "/cam/image_rect", info)
    assert not tf_rig.distortion_warning(
        "left", "/cam/image_raw", camera_info(P, 1200, 370, "left_optical", d=(0, 0))
    )
