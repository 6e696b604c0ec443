"""A real system without weights: a voxel is a vehicle where both views show red.

Space carving from two views. It uses exactly what networks get, `PreparedView.camera` and
`image_transform`, so a mistake in calibration, TF, decoding or axis order moves the vehicle. Where
it is told the robot's motion, it calls the vehicle a truck beyond x = 5 m of the world, else a car.
"""

import dataclasses

import numpy as np
import torch

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import Prediction, PreparedView
from occ_perception.geometry.transforms import inverse
from occ_perception.systems.base import Needs

NEAR = GridSpec((0.0, -6.0, -2.0), (0.25, 0.25, 0.25), (56, 48, 16), "velodyne")
FAR = GridSpec((8.0, -6.0, -2.0), (0.2, 0.2, 0.2), (90, 60, 20), "velodyne")


class CarvingSystem:
    offers = ()

    def __init__(self, grid_frame="velodyne", *, ego_motion=False, grid=NEAR):
        self.needs = Needs(cameras=("left", "right"), stereo=True, ego_motion=ego_motion)
        self.grid = dataclasses.replace(grid, frame_id=grid_frame)
        self.labels = load_label_map("semantickitti")
        self.network = torch.nn.Identity()

    def preprocess(self, frame):
        """Half size, so that `image_transform` matters."""
        half = np.ascontiguousarray(frame.image[::2, ::2])
        image = torch.from_numpy(half).permute(2, 0, 1).float()
        return PreparedView(image, frame.camera, np.diag([0.5, 0.5, 1.0]), frame.stamp_ns)

    def infer(self, views, context):
        seen = [self._look(view) for view in views]
        is_car = seen[0][0] & seen[1][0]
        in_view = seen[0][1] & seen[1][1]
        T = context.T_world_base
        vehicle = "car" if T is None or T[0, 3] < 5 else "truck"
        labels = torch.where(is_car, self.labels.id_of(vehicle), self.labels.free_id)
        return Prediction(
            labels.to(torch.uint8), self.grid, context.stamp_ns, in_view.float(), in_view
        )

    def reset(self):
        pass

    def notes(self):
        return ["red is carved"]

    def _look(self, view):
        """For every voxel: is its centre on a red pixel, and is it in the image at all."""
        points = self.grid.centers().reshape(-1, 3).double().numpy()
        M = view.image_transform @ view.camera.P @ inverse(view.camera.T_base_cam)
        u, v, depth = M @ np.c_[points, np.ones(len(points))].T
        with np.errstate(divide="ignore", invalid="ignore"):
            column, row = np.rint(u / depth), np.rint(v / depth)
        height, width = view.image.shape[1:]
        inside = (depth > 0.1) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        others = view.image[1:].max(0).values
        is_red = ((view.image[0] > 40) & (view.image[0] > 4 * others)).numpy()  # shaded red, too
        red = np.zeros(len(points), bool)
        red[inside] = is_red[row[inside].astype(int), column[inside].astype(int)]
        return tuple(torch.from_numpy(mask.reshape(self.grid.shape)) for mask in (red, inside))
