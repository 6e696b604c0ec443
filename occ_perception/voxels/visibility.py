"""Which voxels a camera can make a statement about."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from occ_perception.core.camera import Camera
from occ_perception.core.grid import GridSpec
from occ_perception.geometry.projection import project, visible
from occ_perception.geometry.transforms import inverse


def voxels_in_view(
    grid: GridSpec,
    camera: Camera,
    device: torch.device | str = "cpu",
    min_depth_m: float = 0.1,
) -> Bool[Tensor, "x y z"]:
    """Voxels whose centre projects into the camera's image; occlusion is not considered.

    Args:
        grid: Voxels; `camera.T_base_cam` is the camera's pose in this grid's frame.
        camera: Rectified camera.
        device: Where the mask is built.
        min_depth_m: Nearest depth along the optical axis that counts, metres.
    """
    T_cam_grid = inverse(camera.T_base_cam)
    P = torch.from_numpy((camera.P @ T_cam_grid).astype(np.float32)).to(device)
    uv, depth = project(grid.centers(device), P)
    return visible(uv, depth, camera.width, camera.height, min_depth_m)


class VisibilityCache:
    """Remembers the mask of the last camera, since a mounted camera rarely moves.

    Args:
        grid: Voxels.
        device: Where the masks live.
    """

    def __init__(self, grid: GridSpec, device: torch.device | str) -> None:
        self._grid = grid
        self._device = device
        self._last: tuple[Camera, Tensor] | None = None

    def __call__(self, camera: Camera) -> Bool[Tensor, "x y z"]:
        """`voxels_in_view` of the camera, computed only when the camera changed."""
        if self._last is None or not self._last[0].equals(camera):
            self._last = (camera, voxels_in_view(self._grid, camera, self._device))
        return self._last[1]
