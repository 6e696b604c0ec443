"""What a LiDAR's beams say about the voxels around a car with cameras all around.

Beams of the whole drive tell what is there: where they ended something is, where they passed
nothing is. Label layers of the cameras tell what they see and, if asked, what it is: then what can
move is believed at its own instant alone, unless beams find it in the same place again and again.
A beam that grazes a car passes voxels of which the car has a part: beside what can move, passing
proves nothing. No voxel truth is read.

No part of the published trainings, which learn from rendered pictures alone: these cannot tell how
thick a surface is, and a small network has no time to find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import maximum_filter
from torch import Tensor

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.data.kept import Kept
from occ_training.data.painted import Ids, PaintedDrive, Vectors, painted_drive, seen_voxels
from occ_training.data.surround import SurroundDrive
from occ_training.world.masks import entered_by_beams

Mask = npt.NDArray[np.bool_]

_KEPT_DRIVES = 256
_BESIDE = (3, 3, 3)  # a voxel and those that touch it
_AROUND = (11, 11, 3)  # 2 m to all sides: where else what is in passing might be put


@dataclass(frozen=True)
class BeamSightSpec:
    """Which voxels are asked for.

    Attributes:
        occupied: Voxels per sample in which a beam ends.
        free: Voxels per sample that beams passed.
        boldness: How much more an occupied voxel counts than a free one, both drawn by volume.
        moving: How much more an occupied voxel counts of what can move: there are few of them.
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


class Named(NamedTuple):
    """Voxels in which something is.

    Attributes:
        voxels: Flat indices, each once.
        labels: Class ids, 0 = none.
    """

    voxels: Ids
    labels: Ids

    def only(self, kept: Mask) -> Named:
        """Some of them."""
        return Named(self.voxels[kept], self.labels[kept])

    def with_more(self, other: Named) -> Named:
        """These, and others where there are none of these; no longer in order."""
        more = other.only(~np.isin(other.voxels, self.voxels))
        return Named(*(np.concatenate(pair) for pair in zip(self, more, strict=True)))


class Surroundings(NamedTuple):
    """What is around a key frame during the whole drive.

    Attributes:
        still: What stands, as far as the key frame's cameras see it.
        open: Flat indices of voxels that beams pass and these cameras see, but for those beside
            what can move and stands.
        passing: Voxels in which things are in passing, at any time, seen or not.
        around_passing: Flat indices of these and of what is around them, but for what stands.
    """

    still: Named
    open: Ids
    passing: Named
    around_passing: Ids


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

        At other times than the grid's own these are voxels where things are in passing, and around:
        what is there then, and those that beams pass then. What stands is asked for once.

        Args:
            drive: With the layer `lidar`, the label layer `depth` and, for names, `classes`.
            then: Key frame at whose time.
            now: Key frame in whose frame.
            random: Chooses.

        Raises:
            OccError: A layer is missing or damaged.
        """
        painted = self._drives.get(drive.name, lambda: painted_drive(drive, self._named))
        around = self._around.get((drive.name, now), lambda: self._look(painted, drive, now))
        T = self._grid_pose(painted, drive, now)
        movers, hit, passed = self._at(painted, then, T)
        beside = self._near(movers.voxels, _BESIDE)
        movers = movers.with_more(around.passing.only(beside[around.passing.voxels]))
        if then == now:
            unsure = self._among(around.passing.voxels) & ~passed | beside
            free = around.open[~unsure[around.open]]
            return self._drawn(movers.with_more(around.still), np.setdiff1d(free, hit), random)
        left = around.around_passing[(passed & ~beside)[around.around_passing]]
        there = np.isin(movers.voxels, around.passing.voxels, assume_unique=True)
        return self._drawn(movers.only(there), np.setdiff1d(left, hit), random)

    def _at(self, painted: PaintedDrive, key: int, T: Matrix) -> tuple[Named, Ids, Mask]:
        """Of one sweep: voxels of what can move, all voxels that it hit, and those it passed."""
        sweep, classes = painted.sweeps.sweeps[key], painted.classes[key]
        moves = np.isin(classes, self._moving)
        movers = named_voxels(sweep.ends[moves], classes[moves], T, self._grid)
        passed = entered_by_beams(self._grid, T, sweep.origins, sweep.ends).ravel()
        return movers, voxels_of(sweep.ends, T, self._grid)[0], passed

    def _among(self, voxels: Ids) -> Mask:
        among = np.zeros(self._grid.count, np.bool_)
        among[voxels] = True
        return among

    def _near(self, voxels: Ids, box: tuple[int, int, int]) -> Mask:
        """Which voxels of the grid lie in a box of so many voxels around one of these."""
        among = self._among(voxels).reshape(self._grid.shape)
        return maximum_filter(among, box, mode="constant").ravel()

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
        worth = np.where(np.isin(labels[ends], self._moving), spec.moving, 1.0)
        weights[ends] = spec.boldness * worth * len(taken.voxels) / max(len(some), 1)
        weights[passes] = len(free) / max(len(some_free), 1)
        is_free = np.arange(len(voxels)) >= spec.occupied
        parts = (voxels, labels, is_free, weights)
        return SightVoxels(*(torch.from_numpy(part) for part in parts))

    def _look(self, painted: PaintedDrive, drive: SurroundDrive, now: int) -> Surroundings:
        T = self._grid_pose(painted, drive, now)
        named = named_voxels(*painted.points(), T, self._grid)
        can_move = np.isin(named.labels, self._moving)
        hit, entered = np.zeros((2, self._grid.count), np.int64)
        for sweep in painted.sweeps.sweeps:
            hit[voxels_of(sweep.ends, T, self._grid)[0]] += 1  # however many points
            entered += entered_by_beams(self._grid, T, sweep.origins, sweep.ends).ravel()
        found_again = can_move & stands(hit[named.voxels], entered[named.voxels])
        beside = self._near(named.voxels[found_again], _BESIDE)
        passes_by = can_move & ~beside[named.voxels]
        still, passing = named.only(~passes_by), named.only(passes_by)
        seen = seen_voxels(drive, now, self._grid).ravel()
        stood = self._among(still.voxels)
        passed = (entered > 0) & ~stood
        around = self._near(passing.voxels, _AROUND) & ~stood & ~beside
        return Surroundings(
            still=still.only(seen[still.voxels]),
            open=np.flatnonzero(passed & seen & ~beside),
            passing=passing,
            around_passing=np.flatnonzero(around),
        )

    @staticmethod
    def _grid_pose(painted: PaintedDrive, drive: SurroundDrive, now: int) -> Matrix:
        T = drive.T_world_ego(now).copy()
        T[:3, 3] -= painted.sweeps.start
        return T


def voxels_of(xyz: Vectors, T_world_grid: Matrix, grid: GridSpec) -> tuple[Ids, Mask]:
    """Flat indices of the voxels that points fall into, and which of the points do."""
    to_grid = inverse(T_world_grid)
    index, inside = grid.index_of(xyz @ to_grid[:3, :3].T + to_grid[:3, 3])
    return np.ravel_multi_index(tuple(index[inside].T), grid.shape), inside


def named_voxels(xyz: Vectors, classes: Ids, T_world_grid: Matrix, grid: GridSpec) -> Named:
    """The voxels that points fall into, each with the class of most of its points.

    Points without a class have no say where others are.
    """
    flat, inside = voxels_of(xyz, T_world_grid, grid)
    voxels, row = np.unique(flat, return_inverse=True)
    names = classes[inside]
    votes = np.zeros((len(voxels), int(names.max(initial=0)) + 1), np.int64)
    np.add.at(votes, (row, names), names > 0)
    return Named(voxels, votes.argmax(axis=1))


def stands(times_hit: Ids, times_entered: Ids) -> Mask:
    """Whether what is in a voxel and can move stands there: it is there again, mostly.

    Args:
        times_hit: At how many key frames beams ended in the voxel.
        times_entered: At how many key frames beams came there at all.
    """
    return (times_hit > 1) & (2 * times_hit >= times_entered)
