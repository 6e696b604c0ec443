"""Voxel grids: the only place where voxel index and metre are converted into each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from occ_perception.core.errors import ConfigError

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class GridSpec:
    """An axis-aligned voxel grid in a named frame; voxel tensors are indexed `[x, y, z]`.

    Attributes:
        origin_m: Lower corner of voxel (0, 0, 0), metres, in `frame_id`.
        voxel_size_m: Edge lengths of a voxel along x, y, z, metres.
        shape: Number of voxels (X, Y, Z).
        frame_id: Frame in which the grid is axis-aligned (x forward, y left, z up).
    """

    origin_m: Triple
    voxel_size_m: Triple
    shape: tuple[int, int, int]
    frame_id: str

    def __post_init__(self) -> None:
        """Refuse grids that cannot exist.

        Raises:
            ConfigError: A size is not positive or a number is not finite.
        """
        if min(self.shape) < 1:
            raise ConfigError(f"grid shape {self.shape} has an empty axis; give sizes of 1 or more")
        if not all(math.isfinite(v) for v in (*self.origin_m, *self.voxel_size_m)):
            raise ConfigError(f"grid origin {self.origin_m} or voxel size is not finite")
        if min(self.voxel_size_m) <= 0:
            raise ConfigError(f"voxel size {self.voxel_size_m} m must be positive on every axis")

    @property
    def upper_m(self) -> Triple:
        """Upper corner of the last voxel, metres."""
        x, y, z = (
            o + s * n for o, s, n in zip(self.origin_m, self.voxel_size_m, self.shape, strict=True)
        )
        return (x, y, z)

    @property
    def count(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    def index_of(
        self, points_m: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Voxel indices of points and whether each lies inside the grid.

        Args:
            points_m: `[..., 3]`, metres, in `frame_id`.

        Returns:
            Indices `[..., 3]` int64 (floor, unclipped; 0 where not finite) and inside mask `[...]`.
        """
        points = np.asarray(points_m, dtype=np.float64)
        cell = np.floor((points - self.origin_m) / self.voxel_size_m)
        inside = np.all(np.isfinite(cell) & (cell >= 0) & (cell < self.shape), axis=-1)
        return np.where(np.isfinite(cell), cell, 0).astype(np.int64), inside

    def center_of(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Centres of voxels, `[..., 3]` metres, from integer indices `[..., 3]`."""
        cell = np.asarray(index, dtype=np.float64)
        return np.asarray(self.origin_m) + (cell + 0.5) * np.asarray(self.voxel_size_m)

    def axis_centers(self, axis: int) -> npt.NDArray[np.float64]:
        """Voxel-centre coordinates along one axis (0 = x), metres, `[n]`."""
        steps = np.arange(self.shape[axis]) + 0.5
        return np.asarray(self.origin_m[axis] + steps * self.voxel_size_m[axis])

    def centers(self, device: torch.device | str = "cpu") -> Tensor:
        """All voxel centres, float32 `[X, Y, Z, 3]`, metres, in `frame_id`."""
        axes = [torch.from_numpy(self.axis_centers(a)).to(device, torch.float32) for a in range(3)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def slab(self, min_z_m: float, max_z_m: float) -> slice:
        """Layers whose centres lie in the height band [min_z_m, max_z_m], as a slice along z.

        Raises:
            ConfigError: The band holds no layer of this grid.
        """
        inside = np.flatnonzero(
            (self.axis_centers(2) >= min_z_m) & (self.axis_centers(2) <= max_z_m)
        )
        if inside.size == 0:
            raise ConfigError(
                f"height band {min_z_m}..{max_z_m} m holds no voxel layer of the grid "
                f"{self.origin_m[2]}..{self.upper_m[2]:.2f} m; widen output.min/max_height_m"
            )
        return slice(int(inside[0]), int(inside[-1]) + 1)


def cubic_size_m(grid: GridSpec) -> float:
    """Edge length of a grid whose voxels are cubes, metres.

    Raises:
        ConfigError: The voxels are not cubes, so no single resolution describes them.
    """
    sizes: Sequence[float] = grid.voxel_size_m
    if max(sizes) - min(sizes) > 1e-9:
        raise ConfigError(f"voxels of size {grid.voxel_size_m} m are not cubes")
    return float(sizes[0])
