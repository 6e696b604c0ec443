"""Image messages of a bag to pixels, the same for training, evaluation and pictures."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import ImageError

Pixels = npt.NDArray[np.generic]

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
PNG_END, JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"
TAIL_BYTES = 4096  # of a file that are searched for its end
# Encoding -> numpy type and channels.
ENCODINGS: dict[str, tuple[type[np.generic], int]] = {
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "rgba8": (np.uint8, 4),
    "bgra8": (np.uint8, 4),
    "mono8": (np.uint8, 1),
    "8UC1": (np.uint8, 1),
    "mono16": (np.uint16, 1),
    "16UC1": (np.uint16, 1),
    "32FC1": (np.float32, 1),
    "32FC2": (np.float32, 2),
}
# OpenCV's names for any number of channels; half floats hold features of teachers.
GENERIC = re.compile(r"(8U|16U|16F|32F)C(\d{1,4})")
GENERIC_TYPES = {"8U": np.uint8, "16U": np.uint16, "16F": np.float16, "32F": np.float32}
TO_RGB = {"bgr8": cv2.COLOR_BGR2RGB, "rgba8": cv2.COLOR_RGBA2RGB, "bgra8": cv2.COLOR_BGRA2RGB}
MILLIMETRE_M = 0.001


def decode_rgb(message: Any) -> npt.NDArray[np.uint8]:
    """A camera image of sensor_msgs/Image or CompressedImage, `[H, W, 3]` uint8 RGB.

    Raises:
        ImageError: Unknown encoding, truncated, or no picture.
    """
    if hasattr(message, "encoding"):
        pixels = decode_values(message)
        if pixels.dtype != np.uint8:
            raise ImageError(f"image encoding '{message.encoding}' is not that of a camera picture")
        code = TO_RGB.get(message.encoding, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else None)
        return pixels if code is None else cv2.cvtColor(pixels, code)
    return file_rgb(decompress(message, cv2.IMREAD_ANYCOLOR), message.format)


def decode_values(message: Any) -> Pixels:
    """An image of values (labels, depth, flow) as it is: `[H, W]` or `[H, W, C]`.

    Raises:
        ImageError: Unknown encoding, or the buffer does not fit.
    """
    if not hasattr(message, "encoding"):
        return decompress(message, cv2.IMREAD_UNCHANGED)
    kind, channels = _layout(message.encoding)
    return buffer_pixels(message, channels, np.dtype(kind))


def _layout(encoding: str) -> tuple[type[np.generic], int]:
    if encoding in ENCODINGS:
        return ENCODINGS[encoding]
    generic = GENERIC.fullmatch(encoding)
    if generic is None or generic[2] == "0":
        raise ImageError(
            f"image encoding '{encoding}' is unknown; known are {', '.join(ENCODINGS)} and "
            "OpenCV's such as 32FC3"
        )
    return GENERIC_TYPES[generic[1]], int(generic[2])


def decode_depth_m(message: Any) -> npt.NDArray[np.float32]:
    """A depth image `[H, W]` in metres, 0 where there is none: 32FC1 in m, 16UC1 in mm (REP 118).

    Raises:
        ImageError: Another encoding, or the buffer does not fit.
    """
    values = decode_values(message)
    if values.ndim != 2 or values.dtype not in (np.uint16, np.float32):
        raise ImageError("a depth image must be 32FC1 (m) or 16UC1 (mm)")
    scale = MILLIMETRE_M if values.dtype == np.uint16 else 1.0
    depth_m = values.astype(np.float32) * np.float32(scale)
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(0))


def buffer_pixels(message: Any, channels: int, dtype: np.dtype[Any]) -> Pixels:
    """Buffer of a sensor_msgs/Image, `[H, W]` or `[H, W, channels]`, in native byte order.

    Raises:
        ImageError: Size, step and buffer contradict each other.
    """
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


def decompress(message: Any, flags: int) -> Pixels:
    """Pixels of a sensor_msgs/CompressedImage as the codec gives them (colours as BGR).

    Args:
        message: The message.
        flags: How OpenCV reads it; an orientation is ignored: CameraInfo knows nothing of it.

    Raises:
        ImageError: It is no whole JPEG or PNG.
    """
    data, form = np.frombuffer(message.data, np.uint8), str(message.format)
    _check_whole(data, form)
    pixels = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ImageError(f"compressed image ('{form}', {data.size} bytes) cannot be decoded")
    return pixels


def file_rgb(pixels: Pixels, form: str) -> npt.NDArray[np.uint8]:
    """RGB of a decompressed picture.

    Args:
        pixels: `decompress`'s result, grey or BGR; it may be written to.
        form: The message's format.
    """
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    # "rgb8; jpeg compressed rgb8": the writer fed RGB where the codec expects BGR, so the channels
    # lie swapped in the file and come out of the decoder as RGB already.
    if "compressed rgb" in form:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _check_whole(data: npt.NDArray[np.uint8], form: str) -> None:
    """Refuse a truncated file: decoders fill the missing rows with grey and say nothing."""
    head, tail = data[:8].tobytes(), data[-TAIL_BYTES:].tobytes().rstrip(b"\0")
    if head.startswith(JPEG):
        whole = tail.endswith(JPEG_END)
    elif head == PNG:
        whole = PNG_END in tail
    else:
        raise ImageError(
            f"compressed image ('{form}', {data.size} bytes) is neither JPEG nor PNG; "
            "set the camera's image_transport to one of them"
        )
    if not whole:
        raise ImageError(
            f"compressed image ('{form}') ends early after {data.size} bytes; "
            "the message was truncated on its way"
        )
