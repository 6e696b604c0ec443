"""Pinhole cameras: intrinsics that always belong to an image size, and the pose on the vehicle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import CalibrationError

Matrix = npt.NDArray[np.float64]


def _identity() -> Matrix:
    return np.eye(4)


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated, rectified pinhole camera.

    Matrices are float64 on the host, as `sensor_msgs/CameraInfo` carries them; systems cast to
    float32 where their network wants it.

    Attributes:
        name: Role of the camera in the rig, e.g. "left".
        P: `[3, 4]` projection of the rectified image in pixels of `width` x `height`;
            column 3 is zero for a single or left camera and `-fx * baseline` for a right one.
        width: Image width in pixels that `P` belongs to.
        height: Image height in pixels that `P` belongs to.
        T_base_cam: `[4, 4]` pose of the optical frame (z forward, x right), metres, in the
            base frame that the rig was asked for.
        distortion: Coefficients that are still in the image; empty once rectified.
    """

    name: str
    P: Matrix
    width: int
    height: int
    T_base_cam: Matrix = field(default_factory=_identity)
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check shapes and numbers.

        Raises:
            CalibrationError: A matrix has the wrong shape, is not finite or has no focal length.
        """
        if self.P.shape != (3, 4) or self.T_base_cam.shape != (4, 4):
            raise CalibrationError(
                f"camera '{self.name}': P must be 3x4 and T_base_cam 4x4, "
                f"got {self.P.shape} and {self.T_base_cam.shape}"
            )
        if not (np.isfinite(self.P).all() and np.isfinite(self.T_base_cam).all()):
            raise CalibrationError(f"camera '{self.name}': P or its pose holds NaN or infinity")
        if self.P[0, 0] <= 0 or self.P[1, 1] <= 0:
            raise CalibrationError(
                f"camera '{self.name}' is uncalibrated (fx {self.P[0, 0]:g}, fy {self.P[1, 1]:g});"
                " publish a CameraInfo with the calibrated P"
            )
        if self.width < 1 or self.height < 1:
            raise CalibrationError(
                f"camera '{self.name}' has image size {self.width}x{self.height}; "
                "CameraInfo must state width and height"
            )

    @property
    def K(self) -> Matrix:  # noqa: N802  (the name of the literature)
        """Intrinsics `[3, 3]`, pixels."""
        return self.P[:, :3]

    def equals(self, other: Camera) -> bool:
        """Whether both describe the same calibration (names and poses included)."""
        sizes = (self.name, self.width, self.height, self.distortion)
        return (
            sizes == (other.name, other.width, other.height, other.distortion)
            and np.array_equal(self.P, other.P)
            and np.array_equal(self.T_base_cam, other.T_base_cam)
        )

    def resized(self, width: int, height: int) -> Camera:
        """The camera of the image resampled to `width` x `height` (pixel edges coincide)."""
        sx, sy = width / self.width, height / self.height
        scale = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
        return replace(self, P=scale @ self.P, width=width, height=height)

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """The camera of the image window whose first pixel is (left, top); may exceed the image."""
        shift = np.array([[1.0, 0, -left], [0, 1.0, -top], [0, 0, 1]])
        return replace(self, P=shift @ self.P, width=width, height=height)
