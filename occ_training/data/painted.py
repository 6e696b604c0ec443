"""LiDAR points with the classes that the cameras' label layers have where they fall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import BagError
from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import Matrix
from occ_training.data.drive_sweeps import DriveSweeps, drive_sweeps
from occ_training.data.samples import Points
from occ_training.data.surround import SurroundDrive
from occ_training.labels.answers import depth_of_layer

CLASSES, DEPTH, LIDAR = "classes", "depth", "lidar"
Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.floating]

# A point is seen by a camera if it is no further away than the pixel, as far as depth can be
# trusted; a voxel, too.
_DEPTH_ERROR, _SLACK_M = 0.1, 0.4


class PaintedDrive(NamedTuple):
    """The sweeps of a drive's key frames, every point with its class.

    Attributes:
        sweeps: One per key frame.
        classes: `[n]` ids of each one's points, 0 = none.
    """

    sweeps: DriveSweeps
    classes: Sequence[Ids]

    def points(self) -> tuple[Vectors, Ids]:
        """All points `[n, 3]` from the drive's start, and their classes."""
        ends = [sweep.ends for sweep in self.sweeps.sweeps]
        return np.concatenate(ends), np.concatenate(self.classes)


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
