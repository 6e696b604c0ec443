"""RayIoU: classes and distances where LiDAR-like rays hit the voxels (SparseOcc, ECCV 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occ_perception.core.grid import GridSpec, cubic_size_m

Matrix = npt.NDArray[np.float64]

FREE = 17
THRESHOLDS_M = (1.0, 2.0, 4.0)
_STEEPEST = 10  # elevations -(pi/2 - atan k) for k = 1..10, then equal steps
_HIGHEST_RAD = 0.21
_MOST_ORIGINS = 8
_ORIGIN_RANGE_M = 39.0
_MOST_STEPS = 1001


class RayHits(NamedTuple):
    """Where rays end.

    Attributes:
        labels: Class of the voxel; free where nothing was hit.
        distances_m: Distance to where the ray leaves that voxel.
    """

    labels: Int[Tensor, " r"]
    distances_m: Float[Tensor, " r"]


def ray_directions() -> Float[Tensor, "r 3"]:
    """The 39 x 360 unit directions of the benchmark's scan."""
    elevations = [-(math.pi / 2 - math.atan(k)) for k in range(1, _STEEPEST + 1)]
    step = elevations[-1] - elevations[-2]
    while elevations[-1] < _HIGHEST_RAD:
        elevations.append(elevations[-1] + step)
    elevation = torch.tensor(elevations, dtype=torch.float64)[:, None]
    azimuth = torch.deg2rad(torch.arange(360, dtype=torch.float64))
    x, y = elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin()
    return torch.stack([x, y, elevation.sin().expand_as(x)], dim=-1).flatten(0, 1).float()


def ray_origins(
    T_world_lidar: Sequence[Matrix], T_world_ego: Matrix, T_ego_lidar: Matrix
) -> Float[Tensor, "n 3"]:
    """LiDAR positions of a whole scene as seen from one of its key frames, at most eight.

    Args:
        T_world_lidar: LiDAR poses of all key frames of the scene, in time order.
        T_world_ego: Pose of the vehicle at the key frame that is scored.
        T_ego_lidar: Pose of the LiDAR on the vehicle.

    Returns:
        Positions in the frame of the vehicle, metres, float64.
    """
    to_lidar = np.linalg.inv(T_world_ego @ T_ego_lidar)
    seen = np.stack([(to_lidar @ T)[:3, 3] for T in T_world_lidar])
    # Rounded between the two frames, as published: a ray near an edge tells the difference.
    points = seen.astype(np.float32) @ T_ego_lidar[:3, :3].T + T_ego_lidar[:3, 3]
    points = points[(np.abs(points[:, :2]) < _ORIGIN_RANGE_M).all(axis=1)]
    if len(points) > _MOST_ORIGINS:
        points = points[np.round(np.linspace(0, len(points) - 1, _MOST_ORIGINS)).astype(np.int64)]
    return torch.from_numpy(points)


class _Walk:
    """Exact traversal of a grid by many rays at once (Amanatides & Woo 1987)."""

    def __init__(self, start: Tensor, end: Tensor, shape: tuple[int, int, int]) -> None:
        direction = end - start
        direction = direction / direction.norm(dim=1, keepdim=True)
        self.shape = torch.tensor(shape, device=start.device)
        self.cell = start.long()  # towards zero, as published
        self.step = torch.where(direction >= 0, 1, -1)
        boundary = self.cell + (direction >= 0)
        moving = direction != 0
        self.reach = torch.where(moving, (boundary - start) / direction, torch.inf)
        self.stride = torch.where(moving, self.step / direction, torch.inf)

    def inside(self) -> Bool[Tensor, " r"]:
        return ((self.cell >= 0) & (self.cell < self.shape)).all(dim=1)

    def flat(self) -> Int[Tensor, " r"]:
        x, y, z = self.cell.unbind(dim=1)
        return (x * self.shape[1] + y) * self.shape[2] + z

    def advance(self) -> Float[Tensor, " r"]:
        """Step into the next voxel; returns the distance to the face between them."""
        x, y, z = self.reach.unbind(dim=1)
        axis = torch.where((x < y) & (x < z), 0, torch.where(y < z, 1, 2))[:, None]
        distance = self.reach.gather(1, axis)
        self.cell.scatter_add_(1, axis, self.step.gather(1, axis))
        self.reach.scatter_add_(1, axis, self.stride.gather(1, axis))
        return distance[:, 0]

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rays only."""
        self.cell, self.step = self.cell[rows], self.step[rows]
        self.reach, self.stride = self.reach[rows], self.stride[rows]


def cast_rays(
    labels: Int[Tensor, "x y z"],
    origins_m: Float[Tensor, "n 3"],
    directions: Float[Tensor, "r 3"],
    grid: GridSpec,
    free: int = FREE,
) -> RayHits:
    """First occupied voxel of every ray, the one around the origin included.

    Args:
        labels: Class ids.
        origins_m: Start points, in the grid's frame.
        directions: Unit vectors; every origin looks into all of them.
        grid: Where the voxels are; cubes.
        free: Id of empty space.

    Returns:
        Hits of n * r rays, origin by origin.
    """
    walk, flat = _start_walks(origins_m, directions, grid), labels.flatten()
    rows = torch.arange(len(walk.cell), device=flat.device)
    voxel = torch.zeros_like(rows)
    distance = torch.full_like(rows, -1.0, dtype=torch.float64)
    entered = torch.zeros_like(rows, dtype=torch.bool)
    for _ in range(_MOST_STEPS):
        inside = walk.inside()
        here = torch.where(inside, walk.flat(), 0)
        left = walk.advance()
        voxel[rows[inside]], distance[rows[inside]] = here[inside], left[inside]
        going = torch.where(inside, flat[here] == free, ~entered)
        entered = (entered | inside)[going]
        rows = rows[going]
        walk.keep(going)
        if not len(rows):
            break
    return RayHits(flat[voxel], (distance * cubic_size_m(grid)).float())


def _start_walks(
    origins_m: Float[Tensor, "n 3"], directions: Float[Tensor, "r 3"], grid: GridSpec
) -> _Walk:
    """All rays, origin by origin, in voxels.

    The published code knows the grid and the points on it in single precision, walks in double.
    """
    lower, size = (
        torch.tensor(v, device=origins_m.device) for v in (grid.origin_m, cubic_size_m(grid))
    )
    start = origins_m.double()[:, None].expand(-1, len(directions), -1).flatten(0, 1)
    end = start + directions.double().repeat(len(origins_m), 1)
    return _Walk(*(((p - lower) / size).float().double() for p in (start, end)), grid.shape)


@dataclass(frozen=True)
class RayIoUResult:
    """Scores 0..1.

    Attributes:
        class_iou: `[3, 17]` per distance threshold and class, NaN where a class never occurs.
        at: Mean over the classes per threshold.
        mean: Mean over everything.
    """

    class_iou: Float[Tensor, "t k"]
    at: tuple[float, ...]
    mean: float


class RayIoU:
    """Accumulates rays over a split.

    Args:
        grid: Where the voxels are.
        free: Id of empty space; classes are the ids below it.
        device: Where counts are kept.
    """

    def __init__(
        self, grid: GridSpec, free: int = FREE, device: torch.device | str = "cpu"
    ) -> None:
        self.grid, self.free = grid, free
        self.directions = ray_directions().to(device)
        self.rays = 0
        self._hits = torch.zeros(len(THRESHOLDS_M), free, dtype=torch.int64, device=device)
        self._truths = torch.zeros(free, dtype=torch.int64, device=device)
        self._answers = torch.zeros(free, dtype=torch.int64, device=device)

    def update(
        self,
        prediction: Int[Tensor, "x y z"],
        target: Int[Tensor, "x y z"],
        origins_m: Float[Tensor, "n 3"],
    ) -> None:
        """Count the rays of one frame; there is no visibility mask."""
        answer = cast_rays(prediction, origins_m, self.directions, self.grid, self.free)
        truth = cast_rays(target, origins_m, self.directions, self.grid, self.free)
        valid = truth.labels != self.free
        wanted, given = truth.labels[valid].long(), answer.labels[valid].long()
        error_m = (answer.distances_m - truth.distances_m).abs()[valid]
        self.rays += len(wanted)
        self._truths += wanted.bincount(minlength=self.free)
        self._answers += given.bincount(minlength=self.free + 1)[: self.free]
        for row, threshold in zip(self._hits, THRESHOLDS_M, strict=True):
            row += wanted[(wanted == given) & (error_m < threshold)].bincount(minlength=self.free)

    def result(self) -> RayIoUResult:
        """Scores of everything counted so far."""
        iou = self._hits.double() / (self._truths + self._answers - self._hits)
        at = tuple(iou.nanmean(dim=1).tolist())
        return RayIoUResult(iou, at, float(iou.nanmean()))
