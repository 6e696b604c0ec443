"""Depth of a system against LiDAR."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.core.camera import Camera
from occ_perception.core.errors import ConfigError
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.depth_maps import kitti360_depth, kitti_raw_depth
from occ_perception.eval.depth_metrics import depth_scores
from occ_perception.eval.per_image import PerImage, Stamps
from occ_perception.geometry.transforms import Matrix, inverse

# Names in the tables; those with a unit are no shares.
_DEPTH_NAMES = {
    "abs_rel": "abs rel [1]", "sq_rel": "sq rel [m]", "rmse": "rmse [m]",
    "rmse_log": "rmse log [1]", "a1": "a1", "a2": "a2", "a3": "a3",
}  # fmt: skip


class DepthScorer(PerImage):
    """Depth of the first camera against one LiDAR scan, without any scaling.

    Args:
        extra: Which answer: "depth" (rendered) or "predicted_depth" (depth branch).
        size: Height and width of the truth, pixels.
        crop: KITTI Raw's protocol: truth at the size of the image, Eigen's crop and range.
    """

    def __init__(
        self, extra: str = "depth", size: tuple[int, int] = (192, 640), *, crop: bool = False
    ) -> None:
        super().__init__()
        self.name = "rendered depth" if extra == "depth" else "predicted depth"
        self.wanted = frozenset({extra})
        self._extra, self._size, self._crop = extra, size, crop

    def open(self, frames: BagFrames) -> Stamps:
        """Begin with a bag.

        Raises:
            BagError: It has no LiDAR.
        """
        self._frames, self._topic = frames, frames.cloud_topic()
        return Stamps(frames.stamps_of(self._topic))

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Score one picture.

        Raises:
            ConfigError: The system gives no such depth.
        """
        predicted = prediction.extras.get(self._extra)
        if predicted is None:
            raise ConfigError(f"this system gives no '{self._extra}' that could be scored")
        scan = self._frames.scan(self._topic, stamp_ns)
        if scan is None:
            return None
        camera = self._frames.cameras[0]
        truth = torch.from_numpy(self._truth(scan.points, scan.T_grid_lidar, camera))
        truth = truth.masked_fill(~_stated(predicted, truth), 0)
        if not bool((truth != 0).any()):
            return None
        found = asdict(depth_scores(predicted.float().cpu().nan_to_num(1.0), truth))
        self.add({_DEPTH_NAMES[name]: value for name, value in found.items()})
        return found["a1"]

    def _truth(
        self, points: npt.NDArray[np.float32], T_grid_lidar: Matrix, camera: Camera
    ) -> npt.NDArray[np.float32]:
        P_velo = camera.K @ (inverse(camera.T_base_cam) @ T_grid_lidar)[:3]
        if self._crop:
            return kitti_raw_depth(points, P_velo, (camera.height, camera.width))
        scale = np.array([[2 / camera.width], [2 / camera.height], [1.0]])
        normalised = P_velo * scale
        normalised[:2] -= P_velo[2]
        return kitti360_depth(points, normalised, self._size)


def _stated(
    predicted: Float[Tensor, "h w"], truth: Float[Tensor, "h2 w2"]
) -> Bool[Tensor, "h2 w2"]:
    """Pixels of the truth for which there is a prediction at all."""
    known = predicted.isfinite().float().cpu()[None, None]
    return F.interpolate(known, truth.shape, mode="nearest")[0, 0] > 0
