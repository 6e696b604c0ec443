"""Which voxels a camera can make a statement about."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool
from torch import Tensor

from occ_perception.core.camera import Camera
from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import inverse


def voxels_in_view(
    grid: GridSpec,
    camera: Camera,
    device: torch.device | str = "cpu",
    min_depth_m: float = 0.1,
) -> Bool[Tensor, "x y z"]:
    """Voxels whose centre projects into the camera's image; occlusion is not considered.

    The view is the inside of five planes, so of each column of voxels it leaves one interval: the
    columns are computed, and their voxels only compared. A moving rig wants a mask per image.

    Args:
        grid: Voxels; `camera.T_base_cam` is the camera's pose in this grid's frame.
        camera: Rectified camera.
        device: Where the mask is built.
        min_depth_m: Nearest depth along the optical axis that counts, metres.
    """
    x, y, z = (torch.from_numpy(grid.axis_centers(axis)).to(device) for axis in range(3))
    low = torch.full((len(x), len(y)), -torch.inf, dtype=x.dtype, device=device)
    high = -low
    for a, b, c, d in _view_planes(camera, min_depth_m).tolist():
        rest = a * x[:, None] + (b * y + d)
        if c > 0:
            low = torch.maximum(low, -rest / c)
        elif c < 0:
            high = torch.minimum(high, -rest / c)
        else:
            low = low.masked_fill(rest < 0, torch.inf)
    return (z >= low[..., None]) & (z < high[..., None])


def _view_planes(camera: Camera, min_depth_m: float) -> npt.NDArray[np.float64]:
    """`[5, 4]` planes `a x + b y + c z + d >= 0` in the grid's frame: the image's sides, depth."""
    u, v, depth = camera.P @ inverse(camera.T_base_cam)
    edges = (camera.width - 0.5, camera.height - 0.5)  # as `geometry.projection.visible` has them
    near = depth - np.array([0, 0, 0, min_depth_m])
    sides = [u + 0.5 * depth, edges[0] * depth - u, v + 0.5 * depth, edges[1] * depth - v]
    return np.stack([*sides, near])


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
