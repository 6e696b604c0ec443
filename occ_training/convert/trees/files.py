"""Small files of the real layouts: PNG, binary numbers, calibration lines, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
JPEG_QUALITY = 95
LOCAL_TIME = timedelta(hours=2)  # German summer time, in which KITTI's files are


def png_bytes(pixels: Array) -> bytes:
    """Grey, RGB or RGBA image, or 16-bit labels, as a PNG file."""
    stored = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    return cv2.imencode(".png", stored)[1].tobytes()


def jpeg_bytes(rgb: npt.NDArray[np.uint8]) -> bytes:
    """RGB image as a JPEG file."""
    options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    return cv2.imencode(".jpg", rgb[..., ::-1], options)[1].tobytes()


def write_png(path: Path, pixels: Array) -> None:
    """Grey or RGB image, or 16-bit labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(pixels))


def write_jpeg(path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    """RGB image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg_bytes(rgb))


def write_array(path: Path, values: Array, dtype: str) -> None:
    """Numbers in little-endian binary, C order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.ascontiguousarray(values).astype(dtype).tobytes())


def write_bits(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    """One bit per voxel, most significant bit first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.packbits(mask.ravel()).tobytes())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """A text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def write_table(path: Path, entries: Mapping[str, npt.ArrayLike]) -> None:
    """Calibration lines "name: numbers"."""
    write_lines(path, (f"{name}: {numbers(values)}" for name, values in entries.items()))


def numbers(values: npt.ArrayLike) -> str:
    """Numbers in a row, with every digit of a float64."""
    return " ".join(f"{v:.16e}" for v in np.asarray(values, np.float64).ravel())


def local_time(stamp_ns: int) -> str:
    """`YYYY-MM-DD HH:MM:SS.nnnnnnnnn` as KITTI Raw and KITTI-360 write it."""
    seconds, rest = divmod(stamp_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC) + LOCAL_TIME
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest:09d}"
