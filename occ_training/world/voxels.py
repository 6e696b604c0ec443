"""Exact voxel truth: which solid fills a voxel of a grid, from 2 x 2 x 2 points inside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import inverse
from occ_training.world.classes import priority
from occ_training.world.primitives import Kind, Primitives
from occ_training.world.road import Ground
from occ_training.world.scene import Scene

Labels = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]
GROUND_DEPTH_M = 0.4
_CLASSES = 32


@dataclass(frozen=True, eq=False)
class ExactTruth:
    """What fills every voxel.

    Attributes:
        labels: `[X, Y, Z]` uint8 internal ids, 0 = free.
        body: `[X, Y, Z]` int32 moving body at the voxel's centre, 0 for the static world.
        instance_id: `[X, Y, Z]` uint16 instance at the voxel's centre.
    """

    labels: Labels
    body: npt.NDArray[np.int32]
    instance_id: npt.NDArray[np.uint16]


def exact_truth(
    scene: Scene, t: float, grid: GridSpec | None = None, T_world_grid: FloatArray | None = None
) -> ExactTruth:
    """Fill a grid at a time.

    Args:
        scene: The world.
        t: Time, seconds.
        grid: Defaults to the rig's grid.
        T_world_grid: `[4, 4]` pose of the grid's frame; defaults to the ego pose at `t`.
    """
    grid = scene.rig.grid if grid is None else grid
    T = scene.pose(t) @ scene.rig.T_base_grid if T_world_grid is None else T_world_grid
    centre = (np.asarray(grid.origin_m) + grid.upper_m) / 2
    reach = float(np.linalg.norm(np.asarray(grid.upper_m) - grid.origin_m) / 2)
    prims = scene.snapshot(t, T[:3, :3] @ centre + T[:3, 3], reach)
    rank = priority()[prims.class_id]
    prims = prims.take(np.argsort(rank, kind="stable"))
    fine = _Volume.of(grid, 2)
    _fill_ground(fine, scene.ground, T)
    _fill(fine, prims, T, prims.class_id)
    coarse_body, coarse_instance = _Volume.of(grid, 1, np.int32), _Volume.of(grid, 1, np.uint16)
    movers, things = prims.take(prims.body > 0), prims.take(prims.instance_id > 0)
    _fill(coarse_body, movers, T, movers.body)
    _fill(coarse_instance, things, T, things.instance_id)
    return ExactTruth(vote(fine.values), coarse_body.values, coarse_instance.values)


@dataclass(frozen=True, eq=False)
class _Volume:
    """Sample points of a grid and the value at each.

    Attributes:
        values: `[nX, nY, nZ]`.
        axes: Coordinates of the samples along x, y, z in the grid's frame, float32.
    """

    values: npt.NDArray
    axes: tuple[npt.NDArray[np.float32], ...]

    @staticmethod
    def of(grid: GridSpec, samples: int, dtype: type = np.uint8) -> _Volume:
        """An empty volume with some samples along each edge of a voxel."""
        axes = tuple(
            (o + s * (np.arange(n * samples) + 0.5) / samples).astype(np.float32)
            for o, s, n in zip(grid.origin_m, grid.voxel_size_m, grid.shape, strict=True)
        )
        return _Volume(np.zeros(tuple(len(a) for a in axes), dtype=dtype), axes)

    def window(self, low: FloatArray, high: FloatArray) -> tuple[slice, ...]:
        """Index ranges of the samples inside a box."""
        return tuple(
            slice(int(np.searchsorted(a, lo)), int(np.searchsorted(a, hi, side="right")))
            for a, lo, hi in zip(self.axes, low, high, strict=True)
        )


def _fill_ground(volume: _Volume, ground: Ground, T: FloatArray) -> None:
    """Ground is solid 0.4 m deep: a road is no sheet of zero thickness."""
    x, y = np.meshgrid(*(a.astype(np.float64) for a in volume.axes[:2]), indexing="ij")
    z = np.full(x.shape, -float(T[2, 3] - ground.height(T[0, 3], T[1, 3])[0]) / T[2, 2])
    R, t = T[:3, :3], T[:3, 3]

    def world(z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        return tuple(R[i, 0] * x + R[i, 1] * y + R[i, 2] * z + t[i] for i in range(3))

    wx, wy, wz = world(z)
    over = ground.height(wx, wy)[0] - ground.long_wave(wx, wy)
    z = z + (ground.long_wave(wx, wy) + over - wz) / R[2, 2]
    wx, wy, wz = world(z)
    top = (z + (ground.long_wave(wx, wy) + over - wz) / R[2, 2]).astype(np.float32)
    class_id = ground.class_of(ground.laterals(wx, wy)).astype(np.uint8)
    layers = volume.window(
        np.array([-np.inf, -np.inf, top.min() - GROUND_DEPTH_M]),
        np.array([np.inf, np.inf, top.max()]),
    )[2]
    heights = volume.axes[2][layers]
    solid = (heights <= top[..., None]) & (heights > top[..., None] - GROUND_DEPTH_M)
    volume.values[..., layers] = class_id[..., None] * solid


def _fill(volume: _Volume, prims: Primitives, T: FloatArray, values: npt.NDArray) -> None:
    """Paint solids in the table's order; later ones win."""
    to_grid = inverse(T)
    rotation = to_grid[:3, :3] @ prims.rotation
    center = prims.center @ to_grid[:3, :3].T + to_grid[:3, 3]
    extent = np.einsum("pij,pj->pi", abs(rotation), prims.half)
    for i in range(len(prims)):
        window = volume.window(center[i] - extent[i], center[i] + extent[i])
        if any(s.start >= s.stop for s in window):
            continue
        inside = _inside(volume, window, rotation[i], center[i], prims.half[i], int(prims.kind[i]))
        volume.values[window][inside] = values[i]


def _inside(volume, window, R: FloatArray, center, half, kind: int) -> npt.NDArray[np.bool_]:
    """Which samples of a window lie in a solid."""
    x, y, z = (a[w] - np.float32(c) for a, w, c in zip(volume.axes, window, center, strict=True))
    R = R.astype(np.float32)
    q = [
        (R[0, i] * x[:, None] + R[1, i] * y)[:, :, None] + R[2, i] * z for i in range(3)
    ]  # fmt: skip
    h = half.astype(np.float32)
    if kind in (Kind.BOX, Kind.PICKETS):
        return (abs(q[0]) <= h[0]) & (abs(q[1]) <= h[1]) & (abs(q[2]) <= h[2])
    if kind in (Kind.ELLIPSOID, Kind.FOLIAGE):
        return (q[0] / h[0]) ** 2 + (q[1] / h[1]) ** 2 + (q[2] / h[2]) ** 2 <= 1
    radius = h[0] if kind == Kind.CYLINDER else h[0] * (h[2] - q[2]) / (2 * h[2])
    return (q[0] ** 2 + q[1] ** 2 <= radius**2) & (abs(q[2]) <= h[2])


def vote(fine: Labels) -> Labels:
    """Class per voxel from its 2 x 2 x 2 samples: the most frequent one, ties by priority.

    One occupied sample makes the voxel occupied.
    """
    rank = priority()
    by_rank = np.argsort(rank[:_CLASSES], kind="stable")
    corners = [fine[i::2, j::2, k::2] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    low = high = fine[::2]
    low, high = np.minimum(low, fine[1::2]), np.maximum(high, fine[1::2])
    low = np.minimum(low[:, ::2], low[:, 1::2])
    high = np.maximum(high[:, ::2], high[:, 1::2])
    low = np.minimum(low[..., ::2], low[..., 1::2])
    high = np.maximum(high[..., ::2], high[..., 1::2])
    mixed = np.flatnonzero((low != high).ravel())
    out = high.copy()
    if mixed.size:
        samples = np.stack([c.reshape(-1)[mixed] for c in corners])
        order = np.empty(_CLASSES, dtype=np.int64)
        order[by_rank] = np.arange(_CLASSES)
        ranks = order[samples]
        # Count of each sample's class among the eight; free never wins against a solid.
        counts = (samples[:, None] == samples[None]).sum(0) * (samples > 0)
        best = (counts * _CLASSES + ranks).argmax(0)
        out.ravel()[mixed] = samples[best, np.arange(mixed.size)]
    return out
