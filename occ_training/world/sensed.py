"""Sensed voxel truth: what scanning the whole drive would have told, as the real truth is made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import inverse
from occ_training.world.classes import IGNORED, priority
from occ_training.world.lidar import LidarSweep, sweep_lidar
from occ_training.world.masks import Mask, entered_by_beams, scan_mask
from occ_training.world.scene import EGO_BODY, Scene
from occ_training.world.voxels import FloatArray, Labels

_KEYS = 64  # class + 32 for points of moving things
_MOVING = 32


@dataclass(frozen=True)
class Mapping:
    """How densely the drive is scanned.

    Attributes:
        spacing_m: Way between sweeps.
        reach_m: How far before and behind a frame the drive is used.
        columns: Columns of a sweep.
    """

    spacing_m: float
    reach_m: float
    columns: int


MAPPINGS = {
    "tiny": Mapping(4.0, 40.0, 521),
    "small": Mapping(2.0, 40.0, 694),
    "full": Mapping(1.0, 40.0, 1042),
}


@dataclass(frozen=True, eq=False)
class SensedTruth:
    """Voxels as scanners know them.

    Attributes:
        labels: `[X, Y, Z]` uint8 internal ids, 0 free, 255 unknown.
        moving: `[X, Y, Z]` bool: the points that named the voxel belong to a moving thing.
        invalid: `[X, Y, Z]` bool: no beam of the whole drive entered it.
        occluded: `[X, Y, Z]` bool: no beam of this frame's sweep entered it.
        scan: `[X, Y, Z]` bool: holds a point of this frame's sweep.
    """

    labels: Labels
    moving: Mask
    invalid: Mask
    occluded: Mask
    scan: Mask


class Mapper:
    """Scans the drive once and answers for any frame; keeps its sweeps."""

    def __init__(self, scene: Scene, mapping: Mapping | None = None) -> None:
        self.scene = scene
        self.mapping = MAPPINGS[scene.config.preset] if mapping is None else mapping
        self._sweeps: dict[int, LidarSweep] = {}
        drive = scene.bodies.moves[EGO_BODY - 1]
        self._times = np.arange(-8.0, scene.config.frames * scene.rig.frame_period_s + 20.0, 0.02)
        self._ways = drive.profile.way(self._times)
        lidar = scene.rig.lidar
        self._lidar = None if lidar is None else replace(lidar, columns=self.mapping.columns)

    def sweeps(self, t: float) -> list[LidarSweep]:
        """The sweeps of the drive within reach of the place of time `t`."""
        way = float(np.interp(t, self._times, self._ways))
        low = int(np.ceil((way - self.mapping.reach_m) / self.mapping.spacing_m))
        high = int(np.floor((way + self.mapping.reach_m) / self.mapping.spacing_m))
        return [s for s in (self._sweep(k) for k in range(low, high + 1)) if s is not None]

    def _sweep(self, k: int) -> LidarSweep | None:
        """The sweep at a way, all columns at once; None outside the known drive."""
        way = k * self.mapping.spacing_m
        if self._lidar is None or not self._ways[0] <= way <= self._ways[-1]:
            return None
        if k not in self._sweeps:
            t = float(self._times[np.searchsorted(self._ways, way)])
            self._sweeps[k] = sweep_lidar(self.scene, self._lidar, t, instant=True)
        return self._sweeps[k]

    def truth(
        self,
        t: float,
        own: LidarSweep,
        grid: GridSpec | None = None,
        T_world_grid: FloatArray | None = None,
    ) -> SensedTruth:
        """Sensed truth at a time.

        Args:
            t: Time of the frame, seconds.
            own: The frame's own sweep.
            grid: Defaults to the rig's grid.
            T_world_grid: `[4, 4]` pose of the grid; defaults to the ego pose at `t`.
        """
        scene = self.scene
        grid = scene.rig.grid if grid is None else grid
        T = scene.pose(t) @ scene.rig.T_base_grid if T_world_grid is None else T_world_grid
        own_entered = entered_by_beams(grid, T, own.origin, own.world)
        entered, votes = own_entered.copy(), []
        for sweep in [own, *self.sweeps(t)]:
            if sweep is not own:
                entered_by_beams(grid, T, sweep.origin, sweep.world, entered)
            votes.append(self._votes(grid, T, sweep, t))
        labels = np.full(grid.count, IGNORED, dtype=np.uint8)
        labels[entered.reshape(-1)] = 0
        moving = np.zeros(grid.count, dtype=np.bool_)
        voxel, key = _majority(np.concatenate(votes))
        labels[voxel], moving[voxel] = key % _MOVING, key >= _MOVING
        # A carried mover can stand where no beam passed: its voxels are known all the same.
        invalid = ~(entered.reshape(-1) | (labels != IGNORED))
        shape = grid.shape
        return SensedTruth(labels.reshape(shape), moving.reshape(shape), invalid.reshape(shape),
                           ~own_entered, scan_mask(grid, T, own))  # fmt: skip

    def _votes(
        self, grid: GridSpec, T_world_grid: FloatArray, sweep: LidarSweep, t: float
    ) -> npt.NDArray[np.int64]:
        """Voxel and class of every point, moving things carried to time `t` with their bodies."""
        world = sweep.world.copy()
        for body in np.unique(sweep.body[sweep.body > 0]):
            rows = np.flatnonzero(sweep.body == body)
            then, which = np.unique(sweep.time_s + sweep.offset_s[rows], return_inverse=True)
            there = self.scene.bodies.pose(int(body), then.astype(np.float64))
            carry = self.scene.bodies.pose(int(body), np.float64(t)) @ _inverses(there)
            world[rows] = np.einsum("nij,nj->ni", carry[which][:, :3, :3], world[rows])
            world[rows] += carry[which][:, :3, 3]
        to_grid = inverse(T_world_grid)
        index, inside = grid.index_of(world @ to_grid[:3, :3].T + to_grid[:3, 3])
        flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
        key = sweep.class_id[inside].astype(np.int64) + _MOVING * (sweep.body[inside] > 0)
        return flat * _KEYS + key


def _inverses(T: FloatArray) -> FloatArray:
    """Inverses of rigid poses `[n, 4, 4]`."""
    out = np.zeros_like(T)
    R = T[:, :3, :3].transpose(0, 2, 1)
    out[:, :3, :3], out[:, 3, 3] = R, 1.0
    out[:, :3, 3] = -np.einsum("nij,nj->ni", R, T[:, :3, 3])
    return out


def _majority(votes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Most frequent key per voxel, ties by the classes' priority."""
    pair, count = np.unique(votes, return_counts=True)
    voxel, key = pair // _KEYS, pair % _KEYS
    order = np.lexsort((priority()[key % _MOVING], count, voxel))
    last = np.flatnonzero(np.diff(voxel[order], append=-1))
    return voxel[order][last], key[order][last]
