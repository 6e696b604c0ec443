"""What a camera or a scanner could know of a grid."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import inverse
from occ_training.world.lenses import Pinhole
from occ_training.world.lidar import LidarSweep
from occ_training.world.render import CameraRender

Mask = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


def camera_mask(grid: GridSpec, T_world_grid: FloatArray, renders: Iterable[CameraRender]) -> Mask:
    """`[X, Y, Z]` voxels that at least one camera sees.

    A voxel is seen if one of 8 points inside it projects into an image at whose pixel the view
    reaches the voxel: rendered distance + half a voxel diagonal. Voxels in which a pixel's ray
    ends are seen in any case.
    """
    seen = np.zeros(grid.count, dtype=np.bool_)
    for render in renders:
        _see(grid, T_world_grid, render, seen)
        seen[_flat(grid, grid_points(T_world_grid, surface_points(render)))] = True
    return seen.reshape(grid.shape)


def surface_points(render: CameraRender) -> FloatArray:
    """World points `[N, 3]` of all pixels that see the world."""
    v, u = np.nonzero(render.surface)
    ray, _ = render.camera.lens.rays(np.stack((u, v), -1).astype(np.float64))
    T = render.T_world_cam
    return (ray * render.distance_m[v, u, None]) @ T[:3, :3].T + T[:3, 3]


def grid_points(T_world_grid: FloatArray, world: FloatArray) -> FloatArray:
    """World points `[N, 3]` in the frame of a grid."""
    T = inverse(T_world_grid)
    return world @ T[:3, :3].T + T[:3, 3]


def _flat(grid: GridSpec, points: FloatArray) -> npt.NDArray[np.int64]:
    """Flat indices of the points that lie inside the grid."""
    index, inside = grid.index_of(points)
    return np.ravel_multi_index(tuple(index[inside].T), grid.shape)


def _see(grid: GridSpec, T_world_grid: FloatArray, render: CameraRender, seen: Mask) -> None:
    """Mark the voxels that one camera sees."""
    T = (inverse(render.T_world_cam) @ T_world_grid).astype(np.float32)
    reach = 0.5 * float(np.linalg.norm(grid.voxel_size_m))
    limit = np.where(np.isfinite(render.distance_m), render.distance_m, 1e6).astype(np.float32)
    limit = (limit + np.float32(reach)) ** 2
    index, center = _in_view(grid, T, render, reach)
    fresh = ~seen[index]
    index, center = index[fresh], tuple(c[fresh] for c in center)
    square = center[0] ** 2 + center[1] ** 2 + center[2] ** 2
    for corner in np.ndindex(2, 2, 2):
        shift = T[:3, :3] @ ((np.array(corner) - 0.5) * 0.5 * grid.voxel_size_m).astype(np.float32)
        row, column, inside = _pixels(render, *(c + s for c, s in zip(center, shift, strict=True)))
        hit = inside & (square <= limit[row, column])
        seen[index[hit]] = True
        index, center, square = index[~hit], tuple(c[~hit] for c in center), square[~hit]


def _in_view(
    grid: GridSpec, T: npt.NDArray[np.float32], render: CameraRender, reach: float
) -> tuple[npt.NDArray[np.int64], tuple[npt.NDArray[np.float32], ...]]:
    """Flat index and camera coordinates of voxels whose bounding sphere touches the view."""
    x, y, z = (grid.axis_centers(a).astype(np.float32) for a in range(3))
    plane = [T[i, 0] * x[:, None] + T[i, 1] * y + T[i, 3] for i in range(3)]
    center = [(p[..., None] + T[i, 2] * z) for i, p in enumerate(plane)]
    lens = render.camera.lens
    if not isinstance(lens, Pinhole):
        near = center[2] > -reach - 0.2 * np.sqrt(center[0] ** 2 + center[1] ** 2)
        return np.flatnonzero(near), tuple(c[near] for c in center)
    K, depth = lens.K.astype(np.float32), center[2]
    inside = depth > -reach
    for axis, size in ((0, lens.width), (1, lens.height)):
        f, c = K[axis, axis], K[axis, 2]
        for slope, offset in (((-0.5 - c) / f, 1.0), ((size - 0.5 - c) / f, -1.0)):
            # Distance to the side plane of the view, positive inside.
            gap = offset * (center[axis] - slope * depth)
            inside &= gap > -reach * np.hypot(1.0, slope)
    return np.flatnonzero(inside), tuple(c[inside] for c in center)


def _pixels(render: CameraRender, x, y, z) -> tuple[npt.NDArray, npt.NDArray, Mask]:
    """Row, column and validity of camera points."""
    lens = render.camera.lens
    if not isinstance(lens, Pinhole):
        uv, inside = lens.project(np.stack((x, y, z), -1).astype(np.float64))
        u, v = uv[..., 0], uv[..., 1]
    else:
        K = lens.K.astype(np.float32)
        scale = 1.0 / np.maximum(z, 1e-3)
        u, v = K[0, 0] * x * scale + K[0, 2], K[1, 1] * y * scale + K[1, 2]
        inside = (z > 1e-3) & (u >= -0.5) & (u < lens.width - 0.5)
        inside &= (v >= -0.5) & (v < lens.height - 0.5)
    row = np.where(inside, v + 0.5, 0).astype(np.int32)
    column = np.where(inside, u + 0.5, 0).astype(np.int32)
    return row, column, inside


def entered_by_beams(
    grid: GridSpec,
    T_world_grid: FloatArray,
    origin: FloatArray,
    end: FloatArray,
    out: Mask | None = None,
) -> Mask:
    """Voxels `[X, Y, Z]` that beams cross or end in, sampled every voxel size along the beam.

    Args:
        grid: The grid.
        T_world_grid: Its pose.
        origin: `[N, 3]` starts of the beams, world frame.
        end: `[N, 3]` hit points, world frame.
        out: Mask of earlier beams to add to, changed in place.
    """
    seen = np.zeros(grid.count, dtype=np.bool_) if out is None else out.reshape(-1)
    size = np.asarray(grid.voxel_size_m)
    start = ((grid_points(T_world_grid, origin) - grid.origin_m) / size).astype(np.float32)
    stop = ((grid_points(T_world_grid, end) - grid.origin_m) / size).astype(np.float32)
    length = np.linalg.norm(stop - start, axis=1)
    order = np.argsort(-length, kind="stable")  # long beams first: those still flying are a prefix
    start, length = start[order], length[order]
    step = (stop[order] - start) / length[:, None]
    p, d = (np.ascontiguousarray(a.T) for a in (start, step))
    flying = np.searchsorted(-length, -(np.arange(int(length[0]) + 1) + 0.5)) if len(p[0]) else ()
    nx, ny, nz = grid.shape
    for k, n in enumerate(flying):
        # Truncation maps (-1, 0) to 0; beams that leave the grid there are a voxel's border case.
        i, j, m = ((p[a, :n] + (k + 0.5) * d[a, :n]).astype(np.int32) for a in range(3))
        inside = (i.view(np.uint32) < nx) & (j.view(np.uint32) < ny) & (m.view(np.uint32) < nz)
        seen[((i * ny + j) * nz + m)[inside]] = True
    seen[_flat(grid, grid_points(T_world_grid, end))] = True
    return seen.reshape(grid.shape)


def scan_mask(grid: GridSpec, T_world_grid: FloatArray, sweep: LidarSweep) -> Mask:
    """Voxels that hold a point of one sweep."""
    hit = np.zeros(grid.count, dtype=np.bool_)
    hit[_flat(grid, grid_points(T_world_grid, sweep.world))] = True
    return hit.reshape(grid.shape)
