"""What a rig is made of: cameras, a scanner, a voxel grid, the car that carries them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_training.world.lenses import Lens

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RigCamera:
    """One camera of a rig.

    Attributes:
        name: Channel, as the data set calls it.
        lens: Image size and intrinsics.
        T_base_cam: `[4, 4]` optical frame in the base frame.
        delay_s: Stamp against the frame's reference stamp.
        grey: Whether the data set stores it as a grey image.
        P: `[3, 4]` published projection of the full-size image where there is one; column 3 is
            relative to the first camera (KITTI).
    """

    name: str
    lens: Lens
    T_base_cam: Matrix
    delay_s: float = 0.0
    grey: bool = False
    P: Matrix | None = None

    @property
    def projection(self) -> Matrix:
        """`[3, 4]` projection in pixels of this lens: the published one scaled, or K with zeros."""
        if self.P is None:
            return np.column_stack((self.lens.K, np.zeros(3)))
        return self.lens.K @ np.linalg.inv(self.P[:, :3]) @ self.P


@dataclass(frozen=True, eq=False)
class Lidar:
    """One spinning scanner.

    Attributes:
        name: Channel.
        elevations_rad: `[rings]` from the lowest ring to the highest.
        columns: Beams per turn and ring.
        T_base_lidar: `[4, 4]` scanner in the base frame.
        period_s: Time of one turn.
        start_s: Time of the first column against the sweep's stamp.
        first_azimuth_rad: Azimuth of the first column in the scanner's frame; it turns clockwise.
        range_m: Shortest and longest range.
        noise_m: Standard deviation of the range.
        loss: Share of beams without an answer.
    """

    name: str
    elevations_rad: Matrix
    columns: int
    T_base_lidar: Matrix
    period_s: float
    start_s: float
    first_azimuth_rad: float
    range_m: tuple[float, float] = (0.9, 120.0)
    noise_m: float = 0.02
    loss: float = 0.03


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras, scanner and voxel grid of one data set.

    Attributes:
        name: One of `config.RIGS`.
        cameras: Cameras in the data set's order.
        lidar: Scanner, None for the single-camera rigs.
        grid: Voxel grid of the truth.
        T_base_grid: `[4, 4]` grid frame in the base frame.
        frame_period_s: Between key frames.
        sub_rays: Sub-rays along a pixel's side for colour.
        car: Boxes of the ego car in the base frame, (centre, half extents); they cast shadows and
            show in the cameras that see them.
        handheld: Whether the camera floats and turns freely (RealEstate10K).
    """

    name: str
    cameras: tuple[RigCamera, ...]
    lidar: Lidar | None
    grid: GridSpec
    T_base_grid: Matrix
    frame_period_s: float
    sub_rays: int
    car: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = ()
    handheld: bool = False

    def camera(self, name: str) -> RigCamera:
        """A camera by its channel."""
        return next(c for c in self.cameras if c.name == name)

    def lifted(self, height_m: float) -> Rig:
        """The rig mounted higher (held set)."""
        up = np.eye(4)
        up[2, 3] = height_m
        cameras = tuple(replace(c, T_base_cam=up @ c.T_base_cam) for c in self.cameras)
        lidar = self.lidar and replace(self.lidar, T_base_lidar=up @ self.lidar.T_base_lidar)
        grid = up @ self.T_base_grid if self.grid.frame_id == "velodyne" else self.T_base_grid
        return replace(self, cameras=cameras, lidar=lidar, T_base_grid=grid)
