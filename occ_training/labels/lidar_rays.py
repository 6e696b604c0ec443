"""Which pixels teach LangOcc: those that a LiDAR point falls on (specification 5.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.data.samples import Points
from occ_training.labels.bag_images import BagImage, BagImages

_NEAREST_M = 1.0
OCC3D_RANGE = GridSpec((-40.0, -40.0, -1.0), (0.4, 0.4, 0.4), (200, 200, 16), "base_link")


@dataclass(frozen=True)
class RaySource:
    """Where the points come from.

    Attributes:
        points: Topic of the LiDAR; empty = the only one.
        base_frame: Vehicle frame, that of the range.
        world_frame: Frame in which the vehicle moves.
        range: Only points in it make rays.
    """

    points: str = ""
    base_frame: str = "base_link"
    world_frame: str = "odom"
    range: GridSpec = OCC3D_RANGE

    def rays(self, image: BagImage, bag: BagImages) -> npt.NDArray[np.float32]:
        """`[n, 3]` row, column (pixels) and depth (metres) of the points that the image sees.

        Raises:
            BagError: There is no scan or no pose at that instant.
        """
        topic = self.points or bag.cloud_topic()
        scan = bag.scan(topic, image.stamp_ns, self.base_frame, self.world_frame)
        T_world_cam = bag.pose(
            image.stamp_ns, self.base_frame, self.world_frame
        ) @ bag.transforms.fixed(self.base_frame, image.camera.frame_id)
        return pixels_of_points(scan, T_world_cam, image, self.range)


def pixels_of_points(
    scan: Points, T_world_cam: Matrix, image: BagImage, inside: GridSpec
) -> npt.NDArray[np.float32]:
    """The same from a scan with its pose; points and camera each at their own time."""
    in_base = _moved(scan.T_base_sensor, scan.xyz.astype(np.float64))
    kept = ((in_base > inside.origin_m) & (in_base < inside.upper_m)).all(axis=1)
    in_camera = _moved(inverse(T_world_cam) @ scan.T_world_base, in_base[kept])
    depth = in_camera[:, 2]
    ahead = depth > _NEAREST_M
    projected = in_camera[ahead] @ image.camera.P[:, :3].T
    u, v = (projected[:, axis] / projected[:, 2] for axis in (0, 1))
    height, width = image.rgb.shape[:2]
    seen = (u > 0) & (u < width - 1) & (v > 0) & (v < height - 1)
    return np.stack([v[seen], u[seen], depth[ahead][seen]], axis=1).astype(np.float32)


def _moved(T: Matrix, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return points @ T[:3, :3].T + T[:3, 3]
