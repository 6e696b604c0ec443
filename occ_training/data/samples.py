"""What a sample of a bag holds: images with calibration and pose, neighbours in time, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import Matrix


@dataclass(frozen=True, eq=False)
class View:
    """One image.

    Attributes:
        frame: Pixels, calibration (with `T_base_cam`) and stamp.
        T_world_base: Pose of the base at the stamp of this very image; None in a bag without poses.
    """

    frame: CameraFrame
    T_world_base: Matrix | None = None

    @property
    def T_world_cam(self) -> Matrix | None:  # noqa: N802  (the name of the literature)
        """Pose of the camera in the world."""
        if self.T_world_base is None:
            return None
        return self.T_world_base @ self.frame.camera.T_base_cam


@dataclass(frozen=True, eq=False)
class Voxels:
    """Voxel truth.

    Attributes:
        grid: Where the voxels are.
        labels: `[X, Y, Z]` uint8 ids, or None for a mask alone.
        known: `[X, Y, Z]` bool, whether a voxel was observed; None = all were.
        label_map: Name of the label map.
        stamp_ns: Nanoseconds.
        T_base_grid: Pose of the grid's frame in the base.
        T_world_base: Pose of the base at the stamp of the voxels; None without poses.
    """

    grid: GridSpec
    labels: npt.NDArray[np.uint8] | None
    known: npt.NDArray[np.bool_] | None
    label_map: str
    stamp_ns: int
    T_base_grid: Matrix
    T_world_base: Matrix | None = None


@dataclass(frozen=True, eq=False)
class Points:
    """Points with values.

    Attributes:
        columns: Values by name, one per point; x, y, z in metres in the sensor's frame.
        stamp_ns: Nanoseconds.
        T_base_sensor: Pose of the sensor in the base.
        T_world_base: Pose of the base at the stamp of the points; None without poses.
    """

    columns: Mapping[str, npt.NDArray[np.generic]]
    stamp_ns: int
    T_base_sensor: Matrix
    T_world_base: Matrix | None = None

    @property
    def xyz(self) -> npt.NDArray[np.float32]:
        """`[n, 3]` metres in the sensor's frame."""
        return np.stack([self.columns[axis] for axis in "xyz"], axis=1)


@dataclass(frozen=True, eq=False)
class LabelImage:
    """Values per pixel of the camera whose optical frame is `frame_id`: labels, depth, flow.

    Attributes:
        values: `[H, W]` or `[H, W, C]`.
        stamp_ns: Nanoseconds.
        frame_id: Optical frame.
    """

    values: npt.NDArray[np.generic]
    stamp_ns: int
    frame_id: str


Layer = Voxels | Points | LabelImage


@dataclass(frozen=True, eq=False)
class Sample:
    """One instant of a drive.

    Attributes:
        scene: Name of the drive.
        index: Number of the anchor image in the scene.
        stamp_ns: Stamp of the anchor image.
        views: One per camera, the anchor first.
        neighbours: Views at other times, by the offset that was asked for in seconds.
        labels: Layers by name.
    """

    scene: str
    index: int
    stamp_ns: int
    views: tuple[View, ...]
    neighbours: Mapping[float, tuple[View, ...]] = field(default_factory=dict)
    labels: Mapping[str, Layer] = field(default_factory=dict)
