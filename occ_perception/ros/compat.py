"""The one place that decides between ROS's Python helpers and our own.

An installed ROS brings cv_bridge, sensor_msgs_py and tf_transformations; the wheels on PyPI do not.
Both serve the same three functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.ros import fallbacks

_HELPERS = {
    "cv_bridge": "rare image encodings by opencv",
    "sensor_msgs_py.point_cloud2": "point clouds by our own packer",
    "tf_transformations": "quaternions by transforms3d",
}


@cache
def _helper(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (ImportError, AttributeError):  # AttributeError: compiled against another numpy
        return None


def describe() -> str:
    """One line that says what is in use, for the log at start."""
    used = []
    for name, own in _HELPERS.items():
        short = name.partition(".")[0]
        used.append(f"{short}" if _helper(name) else f"{own} (no {short})")
    return "helpers in use: " + "; ".join(used)


def rgb_of(message: Any, pixels: fallbacks.Pixels, layout: str) -> npt.NDArray[np.uint8]:
    """RGB `[H, W, 3]` uint8 of an image message.

    Args:
        message: sensor_msgs/Image, already checked.
        pixels: The same pixels as an array.
        layout: Its encoding without bits.
    """
    bridge = _helper("cv_bridge")
    if bridge is None:
        return fallbacks.rgb_from_pixels(pixels, layout)
    return np.asarray(bridge.CvBridge().imgmsg_to_cv2(message, "rgb8"))


def create_cloud(header: Any, fields: Sequence[Any], points: npt.NDArray[Any]) -> Any:
    """PointCloud2 of a structured array; see `fallbacks.create_cloud`."""
    helper = _helper("sensor_msgs_py.point_cloud2") or fallbacks
    return helper.create_cloud(header, fields, points)


def quaternion_from_euler(
    roll_rad: float, pitch_rad: float, yaw_rad: float
) -> tuple[float, float, float, float]:
    """Quaternion (x, y, z, w) of rotations about fixed x, then y, then z, radians."""
    helper = _helper("tf_transformations") or fallbacks
    x, y, z, w = helper.quaternion_from_euler(roll_rad, pitch_rad, yaw_rad)
    return float(x), float(y), float(z), float(w)
