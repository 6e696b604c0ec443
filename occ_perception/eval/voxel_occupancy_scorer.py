"""Binary occupancy of labelled voxels in front of a camera (the `eval_voxel` of ViPOcc's fork)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from occ_perception.core.camera import Camera
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.lidar_occupancy import occupancy_scores
from occ_perception.eval.per_image import PerImage
from occ_perception.eval.slice_scorer import level_pose
from occ_perception.eval.voxel_occupancy import (
    INVALID,
    binary_counts,
    invalidate_underground,
    occupied_voxels,
    visible_voxels,
)
from occ_perception.eval.voxel_scorers import VoxelScorer
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.geometry.transforms import Matrix, inverse

_ACROSS_M, _NEAR_M, _FAR_M = 4.5, 3.0, 20.0
_IN_FRONT_M = 1e-4


class VoxelOccupancyScorer(VoxelScorer):
    """Voxels in a corridor in front of the camera: counts, and those that the image does not see.

    Args:
        topic: Topic of the truth; empty = the only one.
    """

    name = "voxel occupancy"

    def __init__(self, topic: str = "") -> None:
        super().__init__(topic)
        self._images = PerImage()
        self._counts = np.zeros(3)
        self._corridor: Tensor | None = None

    def open(self, frames: BagFrames) -> VoxelTopic:
        """Begin with a bag."""
        truth = super().open(frames)
        self._camera = frames.cameras[0]
        self._corridor = corridor(truth, self._camera)
        return truth

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Score one frame; what the system does not know is free."""
        labels = self.target(prediction, stamp_ns).cpu()
        free = self.truth.label_map.free_id
        labels = invalidate_underground(labels.masked_fill(labels == free, 0))
        valid, occupied = (labels != INVALID) & self._corridor, occupied_voxels(labels)
        given = occupied_voxels(prediction.labels.cpu())
        if prediction.known is not None:
            given &= prediction.known.cpu()
        visible = visible_voxels(
            occupied,
            torch.from_numpy(self._camera.K).float(),
            (self._camera.height, self._camera.width),
            torch.from_numpy(self._to_corner()).float(),
            self.truth.grid.voxel_size_m[0],
        )
        scores = occupancy_scores(given, occupied, visible, valid)
        self._images.add(dict(zip(("O_acc", "IE_acc", "IE_rec"), scores, strict=True)))
        counts = binary_counts(given, occupied, valid)
        self._counts += counts
        return counts.iou

    def scores(self) -> dict[str, float | None]:
        """Means over the images; precision, recall and IoU of the mean counts."""
        tp, fp, fn = self._counts
        shares = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "iou": (tp, tp + fp + fn)}
        found = {name: float(a / b) if b else None for name, (a, b) in shares.items()}
        return found | dict(self._images.scores())

    def _to_corner(self) -> Matrix:
        """Camera to the corner of the grid."""
        T = self._camera.T_base_cam.copy()
        T[:3, 3] -= self.truth.grid.origin_m
        return T


def corridor(truth: VoxelTopic, camera: Camera) -> Bool[Tensor, "x y z"]:
    """Voxels that count: near the level camera's axis, and in the image as if it were level."""
    T_level_grid = level_pose() @ inverse(camera.T_base_cam)
    centres = truth.grid.centers().double().numpy() @ T_level_grid[:3, :3].T + T_level_grid[:3, 3]
    x, y, z = np.moveaxis(centres, -1, 0)
    ahead = np.maximum(z, _IN_FRONT_M)
    u = camera.P[0, 0] * x / ahead + camera.P[0, 2]
    v = camera.P[1, 1] * y / ahead + camera.P[1, 2]
    inside = (u >= 0) & (u <= camera.width) & (v >= 0) & (v <= camera.height)
    near = (np.abs(x) <= _ACROSS_M) & (z >= _NEAR_M) & (z <= _FAR_M)
    return torch.from_numpy(inside & near & (z > _IN_FRONT_M))
