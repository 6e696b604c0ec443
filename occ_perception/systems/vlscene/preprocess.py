"""Camera images to the network's 384 x 1280 input, and the calibration that belongs to it.

Two ways to fit an image:

- published: scale the width to 1280 and keep the bottom 384 rows, exactly as the network was
  trained on KITTI. The calibration stays that of the camera.
- virtual: the camera's focal length and centre are inputs of the network, so a camera that is not
  KITTI's would be out of its experience. The image is resampled to what KITTI's camera would have
  seen from the same place (black where nothing was seen), and the network is told KITTI's K.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError, ImageError
from occ_perception.core.types import CameraFrame, PreparedView

FitKind = Literal["auto", "published", "virtual"]
Matrix = npt.NDArray[np.float64]

_MEAN = (123.675, 116.28, 103.53)  # ImageNet, RGB, grey levels
_STD = (58.395, 57.12, 57.375)

# The three calibrations among KITTI's odometry sequences: focal length, centre, width, height.
_KITTI_CAMERAS = (
    (718.856, (607.1928, 185.2157), (1241, 376)),  # 00-02
    (721.5377, (609.5593, 172.8540), (1242, 375)),  # 03
    (707.0912, (601.8873, 183.1104), (1226, 370)),  # 04-21
)
_VIRTUAL_FOCAL, _VIRTUAL_CENTRE, _VIRTUAL_SIZE = _KITTI_CAMERAS[2]
_BICUBIC = Image.Resampling.BICUBIC  # with anti-aliasing, unlike most libraries
_CLOSE = 0.05  # relative deviation that still counts as the same camera
_MIN_COVERAGE = 0.1  # share of the network image that must show something


@dataclass(frozen=True, eq=False)
class ImageFit:
    """How the images of one camera are fitted.

    Attributes:
        kind: Which of the two ways.
        reason: Why, for the log.
        source_size: Width and height of the images that are fitted.
        camera: What the network is told: the camera itself, or KITTI's in its place.
        image_transform: `[3, 3]` pixels of `camera` -> network pixels.
        source_transform: `[3, 3]` pixels of the source image -> network pixels.
        size: Height and width of the network image.
    """

    kind: Literal["published", "virtual"]
    reason: str
    source_size: tuple[int, int]
    camera: Camera
    image_transform: Matrix
    source_transform: Matrix
    size: tuple[int, int]


def choose_fit(
    camera: Camera, kind: FitKind = "auto", size: tuple[int, int] = (384, 1280)
) -> ImageFit:
    """Decide how a camera's images are fitted.

    Args:
        camera: Rectified camera.
        kind: "published" or "virtual" to insist, "auto" to take what the camera is closer to.
        size: Height and width of the network image.

    Raises:
        CalibrationError: The image is not rectified, or the network would see almost nothing.
    """
    _check_rectified(camera)
    if kind == "auto":
        is_kitti = any(_resembles(camera, *reference) for reference in _KITTI_CAMERAS)
        reason = "calibration is KITTI's" if is_kitti else "calibration is not KITTI's"
        return _published(camera, size, reason) if is_kitti else _virtual(camera, size, reason)
    fit = _published if kind == "published" else _virtual
    return fit(camera, size, "asked for")


def _resembles(
    camera: Camera, focal: float, centre: tuple[float, float], size: tuple[int, int]
) -> bool:
    width, height = size
    ours = (*camera.K.diagonal()[:2], *camera.P[:2, 2], camera.width, camera.height)
    theirs = np.array([focal, focal, *centre, width, height])
    allowed = _CLOSE * np.array([focal, focal, width, height, width, height])
    return bool((np.abs(np.array(ours) - theirs) <= allowed).all())


def _published(camera: Camera, size: tuple[int, int], reason: str) -> ImageFit:
    transform = _width_then_bottom(camera.width, camera.height, size)
    source_size = (camera.width, camera.height)
    return ImageFit("published", reason, source_size, camera, transform, transform, size)


def _virtual(camera: Camera, size: tuple[int, int], reason: str) -> ImageFit:
    (cx, cy), (width, height) = _VIRTUAL_CENTRE, _VIRTUAL_SIZE
    K = np.array([[_VIRTUAL_FOCAL, 0, cx], [0, _VIRTUAL_FOCAL, cy], [0, 0, 1.0]])
    to_virtual = K @ np.linalg.inv(camera.K)
    told = replace(camera, P=to_virtual @ camera.P, width=width, height=height)
    transform = _width_then_bottom(width, height, size)
    source_size = (camera.width, camera.height)
    fit = ImageFit("virtual", reason, source_size, told, transform, transform @ to_virtual, size)
    (left, top, right, bottom), _ = _window(fit)
    coverage = max(right - left, 0) * max(bottom - top, 0) / (size[0] * size[1])
    if coverage < _MIN_COVERAGE:
        raise CalibrationError(
            f"camera '{camera.name}' shows only {coverage:.0%} of what the network looks at; "
            "check its CameraInfo or use a camera with a wider view"
        )
    return fit


def _width_then_bottom(width: int, height: int, size: tuple[int, int]) -> Matrix:
    """The published geometry: one scale for both axes, rows counted from the bottom."""
    scale = size[1] / width
    cropped_rows = int(height * scale) - size[0]
    return np.array([[scale, 0, 0], [0, scale, -cropped_rows], [0, 0, 1.0]])


def _check_rectified(camera: Camera) -> None:
    if any(camera.distortion):
        raise CalibrationError(
            f"camera '{camera.name}' is not rectified (distortion {camera.distortion}); "
            "feed the rectified image and its CameraInfo"
        )
    K = camera.K
    if abs(K[0, 1]) > 1e-6 or K[1, 0] != 0 or not np.allclose(K[2], [0, 0, 1]):
        raise CalibrationError(f"camera '{camera.name}': P is not that of a rectified image")
    if not (0 <= K[0, 2] <= camera.width and 0 <= K[1, 2] <= camera.height):
        raise CalibrationError(
            f"camera '{camera.name}': the centre ({K[0, 2]:.1f}, {K[1, 2]:.1f}) of P lies outside "
            f"its {camera.width}x{camera.height} image; P and image size do not belong together"
        )


def prepare_image(image: npt.NDArray[Any], fit: ImageFit) -> Float[Tensor, "3 h w"]:
    """Resize, crop or pad, and normalise one image.

    Args:
        image: `[H, W, 3]` uint8 RGB, or `[H, W]` / `[H, W, 1]` grey.
        fit: `choose_fit` of its camera.

    Returns:
        Network input, float32; black padding is normalised like any other pixel.

    Raises:
        ImageError: The image is of another type or size than the calibration says.
    """
    _check_image(image, fit)
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    picture = Image.fromarray(np.ascontiguousarray(image))
    fitted = _resize_and_crop(picture, fit) if fit.kind == "published" else _resample(picture, fit)
    return _normalised(np.array(fitted))


def _normalised(image: npt.NDArray[np.uint8]) -> Float[Tensor, "3 h w"]:
    """(image - mean) / std, channels first; looked up, which takes a fraction of the arithmetic."""
    planes = np.empty((3, *image.shape[:2]), dtype=np.float32)
    for plane, channel, table in zip(planes, cv2.split(image), _normal_values(), strict=True):
        cv2.LUT(channel, table, dst=plane)
    return torch.from_numpy(planes)


@functools.cache
def _normal_values() -> npt.NDArray[np.float32]:
    """Normalised value of every grey level, `[3, 256]`."""
    mean, std = (torch.tensor(values)[:, None] for values in (_MEAN, _STD))
    return ((torch.arange(256.0) - mean) / std).numpy()


def _check_image(image: npt.NDArray[Any], fit: ImageFit) -> None:
    width, height = fit.source_size
    grey_or_rgb = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
    if image.dtype != np.uint8 or not grey_or_rgb or image.shape[:2] != (height, width):
        raise ImageError(
            f"camera '{fit.camera.name}': image is {image.dtype}{image.shape}, but its CameraInfo "
            f"says {width}x{height}; use the CameraInfo of this image stream"
        )


def _resize_and_crop(picture: Image.Image, fit: ImageFit) -> Image.Image:
    """Published: truncated sizes (1279 columns from 1241), PIL's bicubic, black outside."""
    height, width = fit.size
    scale = width / picture.width
    resized = picture.resize((int(picture.width * scale), int(picture.height * scale)), _BICUBIC)
    top = resized.height - height
    return resized.crop((0, top, width, top + height))


def _resample(picture: Image.Image, fit: ImageFit) -> Image.Image:
    """Virtual: one resize of the visible window to its exact (sub-pixel) place."""
    height, width = fit.size
    (left, top, right, bottom), box = _window(fit)
    canvas = Image.new("RGB", (width, height))
    canvas.paste(picture.resize((right - left, bottom - top), _BICUBIC, box=box), (left, top))
    return canvas


def _window(fit: ImageFit) -> tuple[tuple[int, int, int, int], tuple[float, float, float, float]]:
    """Network pixels that the source covers completely, and the source box they come from.

    PIL counts from pixel edges, matrices from pixel centres: half a pixel apart on both sides.
    """
    starts, stops, box_starts, box_stops = [], [], [], []
    for axis, (length, limit) in enumerate(zip(fit.source_size, fit.size[::-1], strict=True)):
        scale, shift = fit.source_transform[axis, axis], fit.source_transform[axis, 2]
        offset = shift + 0.5 - 0.5 * scale
        start = min(max(0, int(np.ceil(offset))), limit)
        stop = max(min(limit, int(np.floor(offset + scale * length))), start)
        starts.append(start)
        stops.append(stop)
        box_starts.append(max((start - offset) / scale, 0.0))
        box_stops.append(min((stop - offset) / scale, float(length)))
    window = (starts[0], starts[1], stops[0], stops[1])
    return window, (box_starts[0], box_starts[1], box_stops[0], box_stops[1])


def prepare_view(frame: CameraFrame, fit: ImageFit) -> PreparedView:
    """One camera's network input with its geometry.

    Args:
        frame: Image and calibration.
        fit: `choose_fit(frame.camera, ...)`; worth keeping while the camera stays the same.

    Raises:
        ImageError: The image does not belong to the fitted camera.
    """
    image = prepare_image(frame.image, fit)
    return PreparedView(image, fit.camera, fit.image_transform, frame.stamp_ns)
