"""Our own helpers, and ROS's beside them wherever those are installed."""

import importlib

import numpy as np
import pytest
from ros_free.stand_ins import image

from occ_perception.geometry.transforms import matrix_from_quaternion, rotation_rpy
from occ_perception.ros import compat, fallbacks, images


def helper(name):
    try:
        return importlib.import_module(name)
    except (ImportError, AttributeError):
        pytest.skip(f"{name} is not installed")


def test_the_log_line_names_every_helper():
    line = compat.describe()
    for word in ("cv_bridge", "sensor_msgs_py", "tf_transformations"):
        assert word in line


@pytest.mark.parametrize("rpy", [(0.1, 0.2, 0.3), (3.0, -1.5, -2.0), (0, 0, 0)])
def test_euler_angles_are_about_fixed_axes(rpy):
    for quaternion in (compat.quaternion_from_euler(*rpy), fallbacks.quaternion_from_euler(*rpy)):
        np.testing.assert_allclose(
            matrix_from_quaternion(quaternion), rotation_rpy(*rpy), atol=1e-12
        )


@pytest.mark.parametrize("rpy", [(0.1, 0.2, 0.3), (3.0, -1.5, -2.0)])
def test_tf_transformations_agrees(rpy):
    theirs = helper("tf_transformations").quaternion_from_euler(*rpy)
    np.testing.assert_allclose(fallbacks.quaternion_from_euler(*rpy), theirs, atol=1e-12)


@pytest.mark.ros
@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_gbrg8", "yuv422", "yuv422_yuy2"])
def test_cv_bridge_agrees(encoding):
    helper("cv_bridge")
    from sensor_msgs.msg import Image

    shape = (16, 16) if "bayer" in encoding else (16, 16, 2)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    stand_in = image(pixels, encoding)
    message = Image(width=16, height=16, encoding=encoding, step=stand_in.step)
    message.data.frombytes(pixels)
    layout = images._LAYOUTS[encoding][0]
    np.testing.assert_array_equal(
        compat.rgb_of(message, pixels, layout), fallbacks.rgb_from_pixels(pixels, layout)
    )


@pytest.mark.ros
def test_sensor_msgs_py_agrees():
    theirs = helper("sensor_msgs_py.point_cloud2")
    from sensor_msgs.msg import PointField
    from std_msgs.msg import Header

    from occ_perception.ros.messages import _FIELDS
    from occ_perception.ros.volume import POINT_TYPE

    points = np.zeros(5, POINT_TYPE)
    points["x"], points["label"] = np.arange(5), np.arange(5)
    fields = [PointField(name=n, offset=o, datatype=d, count=1) for n, o, d in _FIELDS]
    assert fallbacks.create_cloud(Header(), fields, points) == theirs.create_cloud(
        Header(), fields, points
    )
