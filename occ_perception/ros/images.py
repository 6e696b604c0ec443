"""Image messages to RGB arrays; every way in which a message can lie is an `ImageError`.

Messages are duck-typed: rclpy's and those of a bag reader serve alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

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
_DEPTHS: dict[str, tuple[type[np.generic], float]] = {
    "16UC1": (np.uint16, 0.001),  # millimetres, REP 118
    "mono16": (np.uint16, 0.001),
    "32FC1": (np.float32, 1.0),  # metres
}
_FAST = ("rgb", "bgr", "rgba", "bgra", "mono")
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"
_TAIL_BYTES = 4096


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
    dtype, unit_m = _DEPTHS[message.encoding]
    pixels = _pixels(message, 1, np.dtype(dtype))
    depth_m = np.asarray(pixels, np.float32) * np.float32(unit_m)
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(0))


def _decode_raw(message: Any) -> DecodedImage:
    encoding = message.encoding
    if encoding not in _LAYOUTS:
        kind = "a depth encoding" if encoding in _DEPTHS else "unknown"
        raise ImageError(
            f"image encoding '{encoding}' is {kind}; publish one of {', '.join(sorted(_LAYOUTS))}"
        )
    layout, channels, size = _LAYOUTS[encoding]
    pixels = _pixels(message, channels, np.dtype(np.uint8 if size == 1 else np.uint16))
    if layout in _FAST and size == 1:
        rgb = compat.fallbacks.rgb_from_pixels(pixels, layout)
    else:
        rgb = compat.rgb_of(message, pixels, layout)
    return DecodedImage(rgb, is_grey=layout == "mono")


def _pixels(message: Any, channels: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """View of the message's buffer, `[H, W]` or `[H, W, channels]`, in native byte order."""
    width, height, step = int(message.width), int(message.height), int(message.step)
    what = f"image {width}x{height} {message.encoding}"
    row = width * channels * dtype.itemsize
    if width < 1 or height < 1:
        raise ImageError(f"{what} is empty; check the camera driver")
    if step < row:
        raise ImageError(f"{what} states a step of {step} bytes, a row needs {row}")
    buffer = np.frombuffer(message.data, np.uint8)
    needed = step * (height - 1) + row  # the last row may come without its padding
    if buffer.size < needed:
        raise ImageError(
            f"{what} has a buffer of {buffer.size} bytes, its size and step need {needed}; "
            "the message was truncated or its header is wrong"
        )
    rows = np.lib.stride_tricks.as_strided(buffer, (height, row), (step, 1), writeable=False)
    stored = dtype.newbyteorder(">" if message.is_bigendian else "<")
    pixels = np.ascontiguousarray(rows).view(stored)
    if dtype.itemsize > 1:
        pixels = pixels.astype(dtype, copy=False)
    return pixels.reshape((height, width, channels) if channels > 1 else (height, width))


def _decode_compressed(message: Any) -> DecodedImage:
    form = str(message.format)
    if "compresseddepth" in form.lower():
        raise ImageError(f"'{form}' is a depth image; use the colour stream's compressed topic")
    data = np.frombuffer(message.data, np.uint8)
    _check_complete(data, form)
    # The pixels as stored: CameraInfo knows nothing of an EXIF orientation.
    pixels = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ImageError(f"compressed image ('{form}', {data.size} bytes) cannot be decoded")
    if pixels.ndim == 2:
        return DecodedImage(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), is_grey=True)
    # "rgb8; jpeg compressed rgb8": the writer fed RGB where the codec expects BGR, so the channels
    # lie swapped in the file and come out of the decoder as RGB already.
    if "compressed rgb" in form:
        return DecodedImage(pixels, is_grey=False)
    return DecodedImage(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), is_grey=False)


def _check_complete(data: npt.NDArray[np.uint8], form: str) -> None:
    """Refuse a truncated file: decoders fill the missing rows with grey and say nothing."""
    head, tail = data[:8].tobytes(), data[-_TAIL_BYTES:].tobytes().rstrip(b"\0")
    if head.startswith(_JPEG):
        complete = tail.endswith(_JPEG_END)
    elif head == _PNG:
        complete = _PNG_END in tail
    else:
        raise ImageError(
            f"compressed image ('{form}', {data.size} bytes) is neither JPEG nor PNG; "
            "set the camera's image_transport to one of them"
        )
    if not complete:
        raise ImageError(
            f"compressed image ('{form}') ends early after {data.size} bytes; "
            "the message was truncated on its way"
        )
