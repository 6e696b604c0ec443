"""Camera images to the input of a field system, and the normalised intrinsics that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError
from occ_perception.core.types import CameraFrame, PreparedView
from occ_perception.geometry.rays import normalised_intrinsics
from occ_perception.geometry.resize import resize_antialiased, resize_bilinear

FitKind = Literal["auto", "stretch", "cover"]

# Stretching changes what things look like; the published KITTI-360 preparation does so by 1.12.
_MOST_STRETCHED = 1.2


@dataclass(frozen=True)
class MonoFit:
    """How a camera's images are brought to the network's size.

    Attributes:
        kind: Which of the two ways.
        reason: Why, for the log.
        size: Height and width of the network's image, pixels.
    """

    kind: Literal["stretch", "cover"]
    reason: str
    size: tuple[int, int]

    def prepare(self, frame: CameraFrame) -> PreparedView:
        """Network input of one image.

        Raises:
            CalibrationError: The image is not rectified.
        """
        return (stretch if self.kind == "stretch" else cover)(frame, self.size)


def choose_fit(camera: Camera, size: tuple[int, int], kind: FitKind = "auto") -> MonoFit:
    """Stretch images of about the network's aspect; of others keep the middle.

    Args:
        camera: Rectified camera.
        size: Height and width of the network's image, pixels.
        kind: "stretch" or "cover" to insist.
    """
    if kind != "auto":
        return MonoFit(kind, "asked for", size)
    ratio = (camera.width / camera.height) / (size[1] / size[0])
    shape = f"{camera.width}x{camera.height} to {size[1]}x{size[0]}"
    if 1 / _MOST_STRETCHED <= ratio <= _MOST_STRETCHED:
        return MonoFit("stretch", f"{shape}, nearly the same aspect", size)
    share = min(ratio, 1 / ratio)
    return MonoFit("cover", f"{shape}, {share:.0%} of the image remain", size)


def stretch(frame: CameraFrame, size: tuple[int, int]) -> PreparedView:
    """Resize the whole image as the published KITTI-360 preparation does; the aspect may change.

    Args:
        frame: A rectified image.
        size: Height and width of the network's input, pixels.

    Raises:
        CalibrationError: The image is not rectified.
    """
    _refuse_distorted(frame.camera)
    image = resize_bilinear(_unit_image(frame), size)[0] * 2 - 1
    scale = np.diag([size[1] / frame.camera.width, size[0] / frame.camera.height, 1.0])
    return PreparedView(image, frame.camera, scale, frame.stamp_ns)


def cover(frame: CameraFrame, size: tuple[int, int]) -> PreparedView:
    """Scale until the input is covered and cut its middle out, as the published demo does.

    Args:
        frame: A rectified image of any aspect.
        size: Height and width of the network's input, pixels.

    Raises:
        CalibrationError: The image is not rectified.
    """
    _refuse_distorted(frame.camera)
    height, width = frame.camera.height, frame.camera.width
    factor = max(size[0] / height, size[1] / width)
    # Guarded against rounding: the published code truncates and can lose the last row.
    scaled = (max(int(factor * height), size[0]), max(int(factor * width), size[1]))
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    resized = resize_antialiased(_unit_image(frame), scaled)
    image = resized[0, :, top : top + size[0], left : left + size[1]] * 2 - 1
    transform = np.array(
        [[scaled[1] / width, 0, -left], [0, scaled[0] / height, -top], [0, 0, 1.0]]
    )
    return PreparedView(image, frame.camera, transform, frame.stamp_ns)


def view_intrinsics(view: PreparedView) -> Float[Tensor, "3 3"]:
    """Normalised intrinsics of a prepared image.

    Pixels are areas here, the first from 0 to 1, as in the published preparation.
    """
    height, width = view.image.shape[-2:]
    K = normalised_intrinsics(view.image_transform @ view.camera.K, width, height)
    return torch.from_numpy(K).float()


def _unit_image(frame: CameraFrame) -> Float[Tensor, "1 3 h w"]:
    return torch.from_numpy(np.ascontiguousarray(frame.image)).permute(2, 0, 1)[None].float() / 255


def _refuse_distorted(camera: Camera) -> None:
    if any(camera.distortion):
        raise CalibrationError(
            f"camera '{camera.name}' still has lens distortion; rectify its images first "
            "(image_proc, or the fisheye resampling of geometry.fisheye)"
        )
