"""What flows through the package: camera frames in, prepared views, predictions out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from occ_perception.core.camera import Camera
from occ_perception.core.errors import ImageError, PredictionError
from occ_perception.core.grid import GridSpec


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """One decoded image with its calibration.

    Attributes:
        image: `[H, W, 3]` uint8 RGB.
        camera: Calibration of exactly this image size.
        stamp_ns: Time of exposure, nanoseconds.
    """

    image: npt.NDArray[np.uint8]
    camera: Camera
    stamp_ns: int

    def __post_init__(self) -> None:
        """Check that image and calibration belong together.

        Raises:
            ImageError: The image is not RGB uint8 or has another size than the calibration.
        """
        expected = (self.camera.height, self.camera.width, 3)
        if self.image.shape != expected or self.image.dtype != np.uint8:
            raise ImageError(
                f"camera '{self.camera.name}': image is {self.image.dtype}{self.image.shape}, but "
                f"its calibration says uint8{expected}; use the CameraInfo of this image stream"
            )


@dataclass(frozen=True, eq=False)
class FrameSet:
    """The synchronised frames of one instant, ordered as the system's `needs.cameras`.

    Attributes:
        frames: One frame per camera.
        stamp_ns: Stamp of the anchor camera; every output carries it.
        T_world_base: `[4, 4]` pose of the base at the anchor stamp in a fixed frame, or None.
    """

    frames: tuple[CameraFrame, ...]
    stamp_ns: int
    T_world_base: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class PreparedView:
    """One camera's network input.

    Attributes:
        image: `[3, h, w]` float32, normalised as the system wants it.
        camera: The calibration before the network's own resize (what the geometry starts from).
        image_transform: `[3, 3]` map from pixels of `camera` to pixels of `image`.
        stamp_ns: Time of exposure, nanoseconds.
    """

    image: Tensor
    camera: Camera
    image_transform: npt.NDArray[np.float64]
    stamp_ns: int


@dataclass(frozen=True, eq=False)
class Prediction:
    """A system's answer for one instant.

    Attributes:
        labels: `[X, Y, Z]` uint8 class ids on the system's device.
        grid: Where the voxels are.
        stamp_ns: Stamp of the input that is answered.
        confidence: `[X, Y, Z]` float 0..1 probability of the label, or None.
        known: `[X, Y, Z]` bool, False where the system makes no statement; None = all known.
        extras: System-specific tensors by name (depth, features, Gaussians).
    """

    labels: Tensor
    grid: GridSpec
    stamp_ns: int
    confidence: Tensor | None = None
    known: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that every volume has the grid's shape.

        Raises:
            PredictionError: A volume has another shape than the grid.
        """
        for name in ("labels", "confidence", "known"):
            volume = getattr(self, name)
            if volume is not None and tuple(volume.shape) != self.grid.shape:
                raise PredictionError(
                    f"{name} has shape {tuple(volume.shape)}, the grid has {self.grid.shape}"
                )
