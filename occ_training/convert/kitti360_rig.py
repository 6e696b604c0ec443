"""Where KITTI-360's sensors sit on the car, by the files in calibration/."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.convert.content import (
    BASE,
    T_BASE_VELODYNE,
    VELODYNE,
    Link,
    rectified_offset,
    rigid,
)
from occ_training.convert.files import check_numbers, entry, read_table, read_text

LEFT, RIGHT = "perspective_left_optical", "perspective_right_optical"
POSE_FRAME = "pose"  # the data set's own: x forward, y right, z down; no body frame of ROS


@dataclass(frozen=True)
class Calibration:
    """The folder calibration/, as transforms between right-handed frames.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @cached_property
    def perspective(self) -> dict[str, Matrix]:
        """Values of perspective.txt."""
        return read_table(self.folder / "perspective.txt")

    @cached_property
    def T_velodyne_camera(self) -> Matrix:  # noqa: N802
        """Unrectified camera 00 in the velodyne's frame."""
        path = self.folder / "calib_cam_to_velo.txt"
        numbers = check_numbers(path, read_text(path).split(), 12, 1)
        return rigid(np.reshape(numbers, (3, 4)))

    def T_pose_camera(self, camera: str) -> Matrix:  # noqa: N802
        """Unrectified camera in the data set's pose frame."""
        path = self.folder / "calib_cam_to_pose.txt"
        return rigid(entry(read_table(path), f"image_{camera}", (3, 4), path))

    @property
    def T_velodyne_pose(self) -> Matrix:  # noqa: N802
        """The pose frame in the velodyne's frame."""
        return self.T_velodyne_camera @ inverse(self.T_pose_camera("00"))

    @property
    def T_velodyne_left(self) -> Matrix:  # noqa: N802
        """Rectified camera 00 in the velodyne's frame."""
        return self.T_velodyne_camera @ self.T_camera_rectified("00")

    def T_camera_rectified(self, camera: str) -> Matrix:  # noqa: N802
        """A rectified camera in its unrectified frame."""
        R_rect = np.eye(4)
        R_rect[:3, :3] = self.matrix(f"R_rect_{camera}", (3, 3))
        return inverse(rigid(R_rect))

    def matrix(self, name: str, shape: tuple[int, ...]) -> Matrix:
        """One entry of perspective.txt."""
        return entry(self.perspective, name, shape, self.folder / "perspective.txt")

    def links(self) -> list[Link]:
        """The sensors below the base, without fisheyes."""
        return [
            Link(BASE, VELODYNE, T_BASE_VELODYNE),
            Link(VELODYNE, LEFT, self.T_velodyne_left),
            Link(LEFT, RIGHT, rectified_offset(self.matrix("P_rect_01", (3, 4)))),
            Link(VELODYNE, POSE_FRAME, self.T_velodyne_pose),
        ]
