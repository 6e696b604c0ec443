"""What makes a camera unlike those that a network was trained with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from occ_perception.core.camera import Camera
from occ_perception.systems.base import Concern

# Horizontal fields of view in training, degrees: five cameras alike, and the wide one behind.
NUSCENES_VIEWS_DEG = (64.6, 89.4)
_TOLERANCE = 0.25  # of the trained angle; augmentation covers about that much


def field_of_view_deg(camera: Camera) -> float:
    """Horizontal field of view of a rectified image, degrees."""
    left, right = camera.K[0, 2], camera.width - camera.K[0, 2]
    return math.degrees(math.atan2(left, camera.K[0, 0]) + math.atan2(right, camera.K[0, 0]))


def field_of_view_concerns(camera: Camera, trained_deg: Sequence[float]) -> list[Concern]:
    """A sentence with both numbers if a camera looks much wider or narrower than trained ones.

    Args:
        camera: Calibration of the image as it comes.
        trained_deg: Horizontal fields of view in training, degrees; the nearest counts.
    """
    angle = field_of_view_deg(camera)
    nearest = min(trained_deg, key=lambda trained: abs(trained - angle))
    if abs(angle - nearest) <= _TOLERANCE * nearest:
        return []
    return [
        Concern(
            f"camera '{camera.name}' sees {angle:.0f} degrees from left to right, the network was "
            f"trained with {nearest:.0f}: expect wrong distances, or crop the image"
        )
    ]


class CameraWatch:
    """The cameras met so far, and what makes them unlike the trained ones.

    Args:
        trained_deg: Horizontal fields of view in training, degrees; the nearest counts.
    """

    def __init__(self, trained_deg: Sequence[float]) -> None:
        self._trained_deg = tuple(trained_deg)
        self._cameras: dict[str, Camera] = {}

    def see(self, camera: Camera) -> None:
        """Remember the newest calibration of a camera."""
        self._cameras[camera.name] = camera

    def concerns(self) -> list[Concern]:
        """Those of all cameras."""
        cameras = list(self._cameras.values())
        return [c for camera in cameras for c in field_of_view_concerns(camera, self._trained_deg)]
