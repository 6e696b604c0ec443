"""What a LiDAR's beams say about the voxels around a car with cameras all around.

Beams of the whole drive tell what is there: where they ended something is, where they passed
nothing is. Label layers of the cameras tell what they see and, if asked, what it is: then what can
move is believed at its own instant alone. No voxel truth is read.

No part of the published trainings, which learn from rendered pictures alone: these cannot tell how
thick a surface is, and a small network has no time to find out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occ_perception.core.errors import BagError
from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.data.drive_sweeps import DriveSweeps, drive_sweeps
from occ_training.data.kept import Kept
from occ_training.data.samples import Points
from occ_training.data.surround import SurroundDrive
from occ_training.labels.answers import depth_of_layer
from occ_training.world.masks import entered_by_beams

CLASSES, DEPTH, LIDAR = "classes", "depth", "lidar"
Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.floating]

# A point is seen by a camera if it is no further away than the pixel, as far as depth can be
# trusted; a voxel, too.
_DEPTH_ERROR, _SLACK_M = 0.1, 0.4
_KEPT_DRIVES = 256


@dataclass(frozen=True)
class BeamSightSpec:
    """Which voxels are asked for.

    Attributes:
        occupied: Voxels per sample in which a beam ends.
        free: Voxels per sample that beams passed.
        boldness: How much more an occupied voxel counts than a free one, both drawn by volume.
        moving: How much more voxels count of what can move, at other times than the grid's own.
        kept: Key frames whose voxels are kept in memory.
    """

    occupied: int = 4000
    free: int = 6000
    boldness: float = 2.0
    moving: float = 1.0
    kept: int = 1000


class SightVoxels(NamedTuple):
    """Voxels of which something is known.

    Attributes:
        voxels: Flat indices, -1 = nothing is known.
        labels: Class ids; 0 = something without a name.
        free: Voxels that beams passed; else one ended there.
        weights: What they count.
    """

    voxels: Int[Tensor, " n"]
    labels: Int[Tensor, " n"]
    free: Bool[Tensor, " n"]
    weights: Float[Tensor, " n"]

    @classmethod
    def none(cls) -> SightVoxels:
        """No voxels at all."""
        nothing = torch.zeros(0, dtype=torch.int64)
        return cls(nothing, nothing, nothing.bool(), nothing.float())

    def known(self) -> SightVoxels:
        """Those of which something is known."""
        kept = self.voxels >= 0
        return SightVoxels(*(part[kept] for part in self))


class PaintedDrive(NamedTuple):
    """The sweeps of a drive's key frames, every point with its class.

    Attributes:
        sweeps: One per key frame.
        classes: `[n]` ids of each one's points, 0 = none.
    """

    sweeps: DriveSweeps
    classes: Sequence[Ids]


class Named(NamedTuple):
    """Voxels in which something is.

    Attributes:
        voxels: Flat indices, ascending.
        labels: Class ids, 0 = none.
    """

    voxels: Ids
    labels: Ids


class Surroundings(NamedTuple):
    """What stands still around a key frame, and what is open there, as far as its cameras see."""

    still: Named
    open: Ids


class BeamSight:
    """Voxels for the key frames of drives; what a drive's beams tell is found out once.

    Args:
        spec: Which voxels.
        grid: Of the voxels, in the vehicle's frame.
        moving_ids: Classes that can move; None = nothing has a name, and all stands still.
    """

    def __init__(
        self, spec: BeamSightSpec, grid: GridSpec, moving_ids: Sequence[int] | None = None
    ) -> None:
        self._spec, self._grid = spec, grid
        self._named, self._moving = moving_ids is not None, tuple(moving_ids or ())
        self._drives: Kept[str, PaintedDrive] = Kept(_KEPT_DRIVES)
        self._around: Kept[tuple[str, int], Surroundings] = Kept(spec.kept)

    def draw(
        self, drive: SurroundDrive, then: int, now: int, random: np.random.RandomState
    ) -> SightVoxels:
        """Voxels of one key frame's grid at the time of another, always equally many.

        At other times than the grid's own these are the places of what can move, then and now.

        Args:
            drive: With the layer `lidar`, the label layer `depth` and, for names, `classes`.
            then: Key frame at whose time.
            now: Key frame in whose frame.
            random: Chooses.

        Raises:
            OccError: A layer is missing or damaged.
        """
        painted = self._drives.get(drive.name, lambda: painted_drive(drive, self._named))
        movers = self._movers(painted, drive, then, now)
        if then == now:
            around = self._around.get((drive.name, now), lambda: self._look(painted, drive, now))
            taken = np.concatenate([around.still.voxels, movers.voxels])
            labels = np.concatenate([around.still.labels, movers.labels])
            free = np.setdiff1d(around.open, movers.voxels, assume_unique=True)
            return self._drawn(Named(taken, labels), free, random)
        left = self._movers(painted, drive, now, now).voxels
        passed = np.flatnonzero(self._passed(painted, drive, [then], now))
        left = np.setdiff1d(np.intersect1d(left, passed), movers.voxels)
        seen = self._drawn(movers, left, random)
        return seen._replace(weights=self._spec.moving * seen.weights)

    def _drawn(self, taken: Named, free: Ids, random: np.random.RandomState) -> SightVoxels:
        spec = self._spec
        some, some_free = (
            random.permutation(len(part))[:count]
            for part, count in ((taken.voxels, spec.occupied), (free, spec.free))
        )
        voxels = np.full(spec.occupied + spec.free, -1)
        labels, weights = np.zeros_like(voxels), np.zeros(len(voxels), np.float32)
        ends = slice(0, len(some))
        passes = slice(spec.occupied, spec.occupied + len(some_free))
        voxels[ends], labels[ends] = taken.voxels[some], taken.labels[some]
        voxels[passes] = free[some_free]
        weights[ends] = spec.boldness * len(taken.voxels) / max(len(some), 1)
        weights[passes] = len(free) / max(len(some_free), 1)
        is_free = np.arange(len(voxels)) >= spec.occupied
        parts = (voxels, labels, is_free, weights)
        return SightVoxels(*(torch.from_numpy(part) for part in parts))

    def _look(self, painted: PaintedDrive, drive: SurroundDrive, now: int) -> Surroundings:
        T = self._grid_pose(painted, drive, now)
        ends = np.concatenate([sweep.ends for sweep in painted.sweeps.sweeps])
        classes = np.concatenate(painted.classes)
        stays = ~np.isin(classes, self._moving)
        still = named_voxels(ends[stays], classes[stays], T, self._grid)
        passed = self._passed(painted, drive, range(len(painted.classes)), now)
        passed.flat[still.voxels] = False
        seen = seen_voxels(drive, now, self._grid)
        kept = seen.flat[still.voxels]
        parts = (still.voxels[kept], still.labels[kept])
        return Surroundings(Named(*parts), np.flatnonzero(passed & seen))

    def _movers(self, painted: PaintedDrive, drive: SurroundDrive, then: int, now: int) -> Named:
        moves = np.isin(painted.classes[then], self._moving)
        ends, classes = painted.sweeps.sweeps[then].ends[moves], painted.classes[then][moves]
        return named_voxels(ends, classes, self._grid_pose(painted, drive, now), self._grid)

    def _passed(
        self, painted: PaintedDrive, drive: SurroundDrive, keys: Sequence[int], now: int
    ) -> npt.NDArray[np.bool_]:
        passed = np.zeros(self._grid.shape, np.bool_)
        T = self._grid_pose(painted, drive, now)
        for key in keys:
            sweep = painted.sweeps.sweeps[key]
            entered_by_beams(self._grid, T, sweep.origins, sweep.ends, passed)
        return passed

    @staticmethod
    def _grid_pose(painted: PaintedDrive, drive: SurroundDrive, now: int) -> Matrix:
        T = drive.T_world_ego(now).copy()
        T[:3, 3] -= painted.sweeps.start
        return T


def lidar_points(drive: SurroundDrive, key: int) -> Points:
    """The LiDAR points of a key frame.

    Raises:
        OccError: The layer is missing or damaged.
    """
    layer = drive.layer(LIDAR, key)
    if not isinstance(layer, Points):
        raise BagError(f"drive {drive.name}: the topic of LiDAR points has something else")
    return layer


def painted_drive(drive: SurroundDrive, named: bool = True) -> PaintedDrive:
    """The key frames' sweeps with the classes that the cameras' label layers have there.

    Args:
        drive: The drive.
        named: Look at the layers; else nothing has a class.

    Raises:
        BagError: The drive has no points.
    """
    points = [lidar_points(drive, key) for key in range(len(drive))]
    sweeps = drive_sweeps(points, spacing_m=0.0, turn_s=0.0)
    ends = [sweep.ends + sweeps.start for sweep in sweeps.sweeps]
    if not named:
        return PaintedDrive(sweeps, [np.zeros(len(xyz), np.int64) for xyz in ends])
    return PaintedDrive(sweeps, [paint(drive, key, xyz) for key, xyz in enumerate(ends)])


def paint(drive: SurroundDrive, key: int, xyz: Vectors) -> Ids:
    """Classes `[n]` of points `[n, 3]` in the world that the cameras of a key frame see; 0 = none.

    Where several cameras see a point the last one names it.
    """
    classes = np.zeros(len(xyz), np.int64)
    looks = _looks(drive, key, drive.T_world_cam(key), xyz)
    for (seen, row, column), names in zip(looks, drive.maps(CLASSES, key), strict=True):
        classes[seen] = names[row, column]
    return classes


def seen_voxels(drive: SurroundDrive, key: int, grid: GridSpec) -> npt.NDArray[np.bool_]:
    """`[X, Y, Z]` which voxels of a grid in the vehicle's frame the cameras of a key frame see."""
    centres = grid.centers().flatten(0, 2).double().numpy()
    T_ego_cam = np.linalg.inv(drive.T_world_ego(key)) @ drive.T_world_cam(key)
    seen = np.zeros(grid.count, np.bool_)
    for index, _, _ in _looks(drive, key, T_ego_cam, centres):
        seen[index] = True
    return seen.reshape(grid.shape)


def named_voxels(xyz: Vectors, classes: Ids, T_world_grid: Matrix, grid: GridSpec) -> Named:
    """The voxels that points fall into, each with the class of most of its points.

    Points without a class have no say where others are.
    """
    to_grid = inverse(T_world_grid)
    index, inside = grid.index_of(xyz @ to_grid[:3, :3].T + to_grid[:3, 3])
    flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
    voxels, row = np.unique(flat, return_inverse=True)
    names = classes[inside]
    votes = np.zeros((len(voxels), int(names.max(initial=0)) + 1), np.int64)
    np.add.at(votes, (row, names), names > 0)
    return Named(voxels, votes.argmax(axis=1))


def _looks(
    drive: SurroundDrive, key: int, poses: Matrix, xyz: Vectors
) -> Iterator[tuple[Ids, Ids, Ids]]:
    """For every camera: which points it sees, and the row and column of its label layers' pixel."""
    cameras = zip(drive.maps(DEPTH, key), drive.K(key), poses, drive.sizes(key), strict=True)
    for layer, K, T, (width, _) in cameras:
        depth = depth_of_layer(layer)
        uvw = (xyz - T[:3, 3]) @ T[:3, :3] @ K.T
        front = np.flatnonzero(uvw[:, 2] > 0)
        uv = uvw[front, :2] / uvw[front, 2:] * (depth.shape[1] / width)
        column, row = np.floor(uv).astype(np.int64).T
        inside = (column >= 0) & (row >= 0) & (column < depth.shape[1]) & (row < depth.shape[0])
        front, row, column = front[inside], row[inside], column[inside]
        reached = depth[row, column]
        near = uvw[front, 2] <= reached * (1 + _DEPTH_ERROR) + _SLACK_M
        seen = near | (reached == 0)
        yield front[seen], row[seen], column[seen]
