"""Image messages to RGB arrays; every way in which a message can lie is an `ImageError`.

Messages are duck-typed: rclpy's and those of a bag reader serve alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from occ_perception.bags.images import buffer_pixels, decode_depth_m, decompress, file_rgb
from occ_perception.core.errors import ImageError
from occ_perception.ros import compat

# Encoding -> (layout for conversion, channels per pixel in memory, bytes per channel).
_LAYOUTS: dict[str, tuple[str, int, int]] = {
    **{f"{name}8": (name, len(name), 1) for name in ("rgb", "bgr", "rgba", "bgra")},
    **{f"{name}16": (name, len(name), 2) for name in ("rgb", "bgr", "rgba", "bgra")},
    **{f"mono{bits}": ("mono", 1, bits // 8) for bits in (8, 16)},
    **{
        f"bayer_{pattern}{bits}": (f"bayer_{pattern}", 1, bits // 8)
        for pattern in ("rggb", "bggr", "gbrg", "grbg")
        for bits in (8, 16)
    },
    **{name: (name, 2, 1) for name in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv")},
    "8UC1": ("mono", 1, 1),
    "8UC3": ("bgr", 3, 1),  # what OpenCV users mean by three unnamed channels
}
_DEPTHS = ("16UC1", "mono16", "32FC1")  # millimetres (REP 118), and metres
_FAST = ("rgb", "bgr", "rgba", "bgra", "mono")


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image as systems take it.

    Attributes:
        rgb: `[H, W, 3]` uint8 RGB, memory of its own.
        is_grey: The source had no colour; the three channels are equal.
    """

    rgb: npt.NDArray[np.uint8]
    is_grey: bool


def decode(message: Any) -> DecodedImage:
    """Decode a sensor_msgs/Image or CompressedImage.

    Raises:
        ImageError: The encoding is unknown, or size, step and buffer contradict each other.
    """
    return _decode_raw(message) if hasattr(message, "encoding") else _decode_compressed(message)


def decode_depth(message: Any) -> npt.NDArray[np.float32]:
    """Decode a depth image to metres `[H, W]`; 0, NaN and infinity mean "no depth" and become 0.

    Raises:
        ImageError: The encoding is not one of depth, or the buffer does not fit.
    """
    if message.encoding not in _DEPTHS:
        raise ImageError(
            f"depth image has encoding '{message.encoding}'; publish 32FC1 (m) or 16UC1 (mm)"
        )
    return decode_depth_m(message)


def _decode_raw(message: Any) -> DecodedImage:
    encoding = message.encoding
    if encoding not in _LAYOUTS:
        kind = "a depth encoding" if encoding in _DEPTHS else "unknown"
        raise ImageError(
            f"image encoding '{encoding}' is {kind}; publish one of {', '.join(sorted(_LAYOUTS))}"
        )
    layout, channels, size = _LAYOUTS[encoding]
    pixels = buffer_pixels(message, channels, np.dtype(np.uint8 if size == 1 else np.uint16))
    if layout in _FAST and size == 1:
        rgb = compat.fallbacks.rgb_from_pixels(pixels, layout)
    else:
        rgb = compat.rgb_of(message, pixels, layout)
    return DecodedImage(rgb, is_grey=layout == "mono")


def _decode_compressed(message: Any) -> DecodedImage:
    form = str(message.format)
    if "compresseddepth" in form.lower():
        raise ImageError(f"'{form}' is a depth image; use the colour stream's compressed topic")
    pixels = decompress(message, cv2.IMREAD_ANYCOLOR)
    return DecodedImage(file_rgb(pixels, form), is_grey=pixels.ndim == 2)
