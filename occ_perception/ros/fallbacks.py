"""What cv_bridge, sensor_msgs_py and tf_transformations do, where they are not installable.

Nothing but `compat.py` and the test that compares both may import this module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from transforms3d.euler import euler2quat

Pixels = npt.NDArray[Any]

_TO_RGB = {
    "rgb": None,
    "bgr": cv2.COLOR_BGR2RGB,
    "rgba": cv2.COLOR_RGBA2RGB,
    "bgra": cv2.COLOR_BGRA2RGB,
    "mono": cv2.COLOR_GRAY2RGB,
    "bayer_rggb": cv2.COLOR_BayerRGGB2RGB,
    "bayer_bggr": cv2.COLOR_BayerBGGR2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGBRG2RGB,
    "bayer_grbg": cv2.COLOR_BayerGRBG2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
    "yuyv": cv2.COLOR_YUV2RGB_YUYV,
}


def rgb_from_pixels(pixels: Pixels, layout: str) -> npt.NDArray[np.uint8]:
    """Convert pixels to RGB.

    Args:
        pixels: `[H, W]` or `[H, W, C]`, uint8 or native uint16.
        layout: Encoding without its bits, e.g. "bayer_rggb", "bgr", "yuyv".

    Returns:
        `[H, W, 3]` uint8; 16-bit values are scaled to 8 bits.
    """
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    code = _TO_RGB[layout]
    return pixels.copy() if code is None else cv2.cvtColor(pixels, code)


def create_cloud(header: Any, fields: Sequence[Any], points: npt.NDArray[Any]) -> Any:
    """Pack a structured array into a PointCloud2, as `sensor_msgs_py.point_cloud2` does.

    Args:
        header: std_msgs/Header.
        fields: sensor_msgs/PointField, describing `points`.
        points: Structured array `[n]` whose memory layout is that of the fields.
    """
    from sensor_msgs.msg import PointCloud2

    cloud = PointCloud2(
        header=header,
        height=1,
        width=len(points),
        is_dense=False,
        is_bigendian=sys.byteorder != "little",
        fields=list(fields),
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * len(points),
    )
    cloud.data.frombytes(np.ascontiguousarray(points).view(np.uint8))
    return cloud


def quaternion_from_euler(
    roll_rad: float, pitch_rad: float, yaw_rad: float
) -> tuple[float, float, float, float]:
    """Quaternion (x, y, z, w) of rotations about fixed x, then y, then z, radians."""
    w, x, y, z = (float(v) for v in euler2quat(roll_rad, pitch_rad, yaw_rad, axes="sxyz"))
    return x, y, z, w
