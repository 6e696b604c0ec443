"""Solid boxes: where a ray meets them, what they shade, which voxels they fill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import inverse, rotation_rpy

Array = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

# Corners of the unit cube, and the eight inner points that stand for a voxel's volume.
CORNERS: Array = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3, indexing="ij"), -1).reshape(8, 3)
PAIRS = np.triu_indices(8, 1)  # every two corners: their connection lies in the box
NEAR_M = 0.1


@dataclass(frozen=True)
class Box:
    """A solid box standing upright in the world (x forward, y left, z up).

    Attributes:
        center_m: Centre, metres, in the world.
        size_m: Edge lengths along its own x, y, z, metres.
        label: Class id of its voxels and pixels.
        albedo: Red, green, blue, 0..1.
        texture: Name of the surface recipe in `box_textures`.
        yaw_rad: Turn about the vertical.
    """

    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    label: int
    albedo: tuple[float, float, float]
    texture: str = "plain"
    yaw_rad: float = 0.0

    @property
    def half_m(self) -> Array:
        """Half edge lengths, metres, `[3]`."""
        return 0.5 * np.asarray(self.size_m)

    @property
    def pose(self) -> Matrix:
        """Pose in the world, `[4, 4]`."""
        T = np.eye(4)
        T[:3, :3] = rotation_rpy(0.0, 0.0, self.yaw_rad)
        T[:3, 3] = self.center_m
        return T

    @property
    def corners_m(self) -> Array:
        """The eight corners in the world, metres, `[8, 3]`."""
        T = self.pose
        return CORNERS * self.half_m @ T[:3, :3].T + T[:3, 3]


def intersect(box: Box, origins_m: Array, directions: Array) -> tuple[Array, npt.NDArray[np.int8]]:
    """First meeting of rays with a box that they start outside of (slab method).

    Args:
        box: The box.
        origins_m: `[3]` or `[n, 3]` start points in the world, metres.
        directions: `[3]` or `[n, 3]` directions in the world, any length.

    Returns:
        Ray parameter `[n]` (infinity = missed) and the axis of the face that was hit `[n]`.
    """
    T = box.pose
    start = T[:3, :3].T @ (origins_m - T[:3, 3]).T
    heading = T[:3, :3].T @ directions.T
    t_entry, t_leave, face = -np.inf, np.inf, np.int8(0)
    for axis in range(3):  # one axis after the other: columns are faster than rows of three
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = 1.0 / heading[axis]
            half = np.copysign(box.half_m[axis], slope)
            first, second = (-half - start[axis]) * slope, (half - start[axis]) * slope
        face = np.where(first > t_entry, np.int8(axis), face)
        t_entry, t_leave = np.fmax(t_entry, first), np.fmin(t_leave, second)
    hit = (t_entry <= t_leave) & (t_entry > 1e-6)
    return np.where(hit, t_entry, np.inf), face


def pixel_window(
    box: Box, K: Matrix, T_cam_world: Matrix, width: int, height: int
) -> tuple[int, int, int, int] | None:
    """Window (u0, v0, u1, v1) that holds all pixels of a box, or None if it is out of sight."""
    corners = box.corners_m @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
    if corners[:, 2].max() < NEAR_M:
        return None
    if corners[:, 2].min() < NEAR_M:  # it reaches behind the camera: cut it off there
        start, end = corners[PAIRS[0]], corners[PAIRS[1]]
        crosses = (start[:, 2] < NEAR_M) != (end[:, 2] < NEAR_M)
        start, end = start[crosses], end[crosses]
        share = (NEAR_M - start[:, 2:]) / (end[:, 2:] - start[:, 2:])
        corners = np.vstack([corners[corners[:, 2] >= NEAR_M], start + share * (end - start)])
    pixels = corners @ K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    low = np.clip(np.floor(pixels.min(0)) - 1, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(pixels.max(0)) + 2, 0, (width, height)).astype(int)
    return (low[0], low[1], high[0], high[1]) if (high > low).all() else None


def shadowed(boxes: tuple[Box, ...], points_m: Array, to_sun: Array) -> npt.NDArray[np.bool_]:
    """Whether something stands between points `[n, 3]` and the sun, `[n]`."""
    dark = np.zeros(len(points_m), dtype=np.bool_)
    x, y, z = np.ascontiguousarray(points_m.T)
    for box in boxes:
        corners = box.corners_m
        # The shadow ends on the ground: corners, and corners moved down along the light.
        reach = corners - to_sun * (corners[:, 2:] / to_sun[2])
        low = np.minimum(corners.min(0), reach.min(0))[:2]
        high = np.maximum(corners.max(0), reach.max(0))[:2]
        near = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
        chosen = np.flatnonzero(near & (z < corners[:, 2].max()))
        chosen = chosen[~dark[chosen]]
        if chosen.size:
            dark[chosen] = np.isfinite(intersect(box, points_m[chosen], to_sun)[0])
    return dark


def fill(boxes: tuple[Box, ...], grid: GridSpec, T_world_grid: Matrix) -> npt.NDArray[np.uint8]:
    """Exact voxel truth: a voxel belongs to the box that holds most of its eight inner points.

    Args:
        boxes: Solids; among equals the earlier one wins.
        grid: Where the voxels are.
        T_world_grid: Pose of the grid's frame in the world, `[4, 4]`.

    Returns:
        Labels `[X, Y, Z]` uint8, 0 where no box is.
    """
    labels = np.zeros(grid.shape, np.uint8)
    most = np.zeros(grid.shape, np.uint8)
    for box in boxes:
        T_box_grid = inverse(box.pose) @ T_world_grid
        T_grid_box = inverse(T_box_grid)
        corners = CORNERS * box.half_m @ T_grid_box[:3, :3].T + T_grid_box[:3, 3]
        low, _ = grid.index_of(corners.min(0))
        high, _ = grid.index_of(corners.max(0))
        window = tuple(
            slice(max(0, a), max(0, min(n, b + 1)))
            for a, b, n in zip(low, high, grid.shape, strict=True)
        )
        count = _inner_points(box, grid, T_box_grid, window)
        wins = count > most[window]
        most[window][wins] = count[wins]
        labels[window][wins] = box.label
    return labels


def _inner_points(
    box: Box, grid: GridSpec, T_box_grid: Matrix, window: tuple[slice, ...]
) -> npt.NDArray[np.uint8]:
    """How many of the eight inner points of each voxel of a window lie in the box, 0..8."""
    sizes = [max(0, part.stop - part.start) for part in window]
    count = np.zeros(sizes, np.uint8)
    x, y, z = (grid.axis_centers(axis)[part] for axis, part in enumerate(window))
    quarter = 0.25 * np.asarray(grid.voxel_size_m)
    R, t = T_box_grid[:3, :3], T_box_grid[:3, 3]
    # Boxes stand upright, and so does the grid: height separates from the ground plan.
    for dz in (-quarter[2], quarter[2]):
        level = np.abs(z + dz + t[2]) <= box.half_m[2]
        for dx in (-quarter[0], quarter[0]):
            for dy in (-quarter[1], quarter[1]):
                px, py = (x + dx)[:, None], (y + dy)[None, :]
                inside = np.abs(R[0, 0] * px + R[0, 1] * py + t[0]) <= box.half_m[0]
                inside &= np.abs(R[1, 0] * px + R[1, 1] * py + t[1]) <= box.half_m[1]
                count += inside[..., None] & level
    return count
