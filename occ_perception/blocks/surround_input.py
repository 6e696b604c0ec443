"""Camera images to the input of the two surround-view networks, and the matching pixel map.

Both networks were trained with the recipe of BEVDet (Huang et al. 2021), its quirks included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from occ_perception.core.errors import CalibrationError
from occ_perception.core.types import CameraFrame, PreparedView

Picture = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

# The statistics are those of R, G, B, but the published code swaps the channels before it applies
# them in this order: channel 0 of the input is blue. Checkpoints were trained with that.
_MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
_STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]

_PUBLISHED_RESIZE = 704 / 1600
_RESIZE_RANGE = (-0.06, 0.11)  # added to the published factor; to others in proportion
_ROTATION_RANGE_DEG = (-5.4, 5.4)


@dataclass(frozen=True)
class ImageFit:
    """How one image becomes the network's: resize, crop, flip, rotate.

    Attributes:
        resize: Factor of both axes.
        resized: Width and height after resizing, pixels.
        crop: Left and top of the crop in the resized image, pixels; may lie outside it.
        size: Height and width of the network image.
        flip: Mirrored left to right after cropping.
        rotate_deg: Then turned counter-clockwise about the centre, degrees.
    """

    resize: float
    resized: tuple[int, int]
    crop: tuple[int, int]
    size: tuple[int, int]
    flip: bool = False
    rotate_deg: float = 0.0

    def matrix(self) -> Matrix:
        """`[3, 3]` map from pixels of the source image to pixels of the network image."""
        height, width = self.size
        M = np.diag([self.resize, self.resize, 1.0])
        M[:2, 2] = -np.array(self.crop)
        if self.flip:
            M = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1.0]]) @ M
        c, s = math.cos(math.radians(self.rotate_deg)), math.sin(math.radians(self.rotate_deg))
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
        centre = np.array([width / 2, height / 2])
        turn[:2, 2] = centre - turn[:2, :2] @ centre
        return turn @ M


def fit_image(width: int, height: int, size: tuple[int, int]) -> ImageFit:
    """The fit at inference: width to width, the bottom rows.

    Args:
        width: Width of the source image, pixels.
        height: Height of the source image, pixels.
        size: Height and width of the network image.
    """
    resize = size[1] / width
    resized = (int(width * resize), int(height * resize))
    return ImageFit(resize, resized, (0, resized[1] - size[0]), size)


def draw_fit(
    width: int,
    height: int,
    size: tuple[int, int],
    random: np.random.RandomState,
    flips: bool,
) -> ImageFit:
    """A random fit for training; draws in the published order.

    Args:
        width: Width of the source image, pixels.
        height: Height of the source image, pixels.
        size: Height and width of the network image.
        random: Source of randomness.
        flips: Whether half of the images are mirrored.
    """
    resize = size[1] / width
    resize += random.uniform(*_RESIZE_RANGE) * (resize / _PUBLISHED_RESIZE)
    resized = (int(width * resize), int(height * resize))
    random.uniform(0, 0)  # the height of the crop is drawn, from an empty interval
    left = int(random.uniform(0, max(0, resized[0] - size[1])))
    flip = bool(flips and random.choice([0, 1]))
    rotate_deg = random.uniform(*_ROTATION_RANGE_DEG)
    crop = (left, resized[1] - size[0])
    return ImageFit(resize, resized, crop, size, flip, rotate_deg)


def apply_fit(image: Picture, fit: ImageFit) -> Picture:
    """The network image before normalisation; black where the source shows nothing.

    Args:
        image: `[H, W, 3]` uint8.
        fit: What to do with it.
    """
    (left, top), (height, width) = fit.crop, fit.size
    picture = Image.fromarray(image).resize(fit.resized)  # bicubic with anti-aliasing
    picture = picture.crop((left, top, left + width, top + height))
    if fit.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if fit.rotate_deg:
        picture = picture.rotate(fit.rotate_deg)
    return np.asarray(picture)


def normalise(picture: Picture) -> Float[Tensor, "3 h w"]:
    """Network input of an RGB picture `[h, w, 3]` uint8."""
    channels = torch.from_numpy(picture[..., ::-1].transpose(2, 0, 1).astype(np.float32))
    return (channels - _MEAN) / _STD


def shrunk_size(width: int, height: int, largest: int | None) -> tuple[int, int]:
    """Width and height of an image that is at most so wide, pixels; None = any width."""
    if largest is None or width <= largest:
        return width, height
    return largest, round(height * largest / width)


def shrunk(frame: CameraFrame, width: int | None) -> CameraFrame:
    """The frame at most so wide: a network that was trained on small images knows no finer detail.

    Args:
        frame: Image and calibration.
        width: Largest width, pixels; None = any.
    """
    camera = frame.camera
    size = shrunk_size(camera.width, camera.height, width)
    if size == (camera.width, camera.height):
        return frame
    image = np.asarray(Image.fromarray(frame.image).resize(size))
    return CameraFrame(image, camera.resized(*size), frame.stamp_ns)


def prepare_view(frame: CameraFrame, size: tuple[int, int]) -> PreparedView:
    """One camera's image as both networks want it at inference.

    Args:
        frame: Image and calibration.
        size: Height and width of the network image.

    Raises:
        CalibrationError: The image is not rectified.
    """
    camera = frame.camera
    if any(camera.distortion):
        raise CalibrationError(
            f"camera '{camera.name}' is not rectified (distortion {camera.distortion}); "
            "feed the rectified image and its CameraInfo"
        )
    fit = fit_image(camera.width, camera.height, size)
    image = normalise(apply_fit(frame.image, fit))
    return PreparedView(image, camera, fit.matrix(), frame.stamp_ns)
