"""SSCBench-KITTI-360 without labels, as S4C and SceneDINO score it: 15 classes, three ranges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from occ_perception.core.cityscapes import SSCBENCH_15_OF_TRAIN_ID
from occ_perception.core.grid import GridSpec
from occ_perception.eval.metrics import CompletionMetric, CompletionResult
from occ_perception.eval.voxel_occupancy import INVALID, invalidate_underground
from occ_perception.voxels.density import grow

GRID = GridSpec((0.0, -25.6, -2.0), (0.2, 0.2, 0.2), (256, 256, 32), "velodyne")
# Camera 0 in the LiDAR frame, as fixed in the published scripts.
T_VELO_CAM = torch.tensor(
    [
        [0.04307104361, -0.08829286498, 0.995162929, 0.8043914418],
        [-0.999004371, 0.007784614041, 0.04392796942, 0.2993489574],
        [-0.01162548558, -0.9960641394, -0.08786966659, -0.1770225824],
        [0.0, 0.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
)
FOCAL_PX, CENTRE_PX, IMAGE_PX = 552.554261, (682.049453, 238.769549), (1408, 376)

CLASSES = 16
LABEL_OF_TRAIN_ID = torch.tensor(SSCBENCH_15_OF_TRAIN_ID)
# Index = raw SSCBench id 0..19.
_LABEL_OF_RAW_ID = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 12, 9, 10, 11, 12, 13, 14, 9, 15, 0])
# Classes 1..15; shares of the training labels in percent.
CLASS_WEIGHTS = (
    *(2.85, 0.01, 0.01, 0.16, 5.75, 0.02, 14.98, 6.43),
    *(20.00, 0.96, 41.99, 9.15, 0.22, 0.06, 0.28),
)
RANGES_M = (12.8, 25.6, 51.2)
_UNDERGROUND_LAYERS = 7


def voxel_centres_in_camera() -> Float[Tensor, "x y z 3"]:
    """Centres of the benchmark's voxels in camera 0, metres."""
    T_cam_velo = torch.linalg.inv(T_VELO_CAM)
    centres = GRID.centers().double()
    return (centres @ T_cam_velo[:3, :3].T + T_cam_velo[:3, 3]).float()


def field_of_view(centres: Float[Tensor, "x y z 3"]) -> Bool[Tensor, "x y z"]:
    """Voxels whose centre falls on a pixel of the full-size image.

    Args:
        centres: Voxel centres in camera 0, metres.
    """
    x, y, z = centres.unbind(-1)
    u = (FOCAL_PX * x / z + CENTRE_PX[0]).round()
    v = (FOCAL_PX * y / z + CENTRE_PX[1]).round()
    width, height = IMAGE_PX
    return (u >= 0) & (u < width) & (v >= 0) & (v < height) & (z > 0)


def labels_of_raw(raw: Int[Tensor, "x y z"]) -> Int[Tensor, "x y z"]:
    """Raw SSCBench ids (255 = invalid) as the 15 classes; voxels below the street are invalid."""
    known = raw != INVALID
    labels = _LABEL_OF_RAW_ID.to(raw.device)[torch.where(known, raw, 0).long()]
    return invalidate_underground(labels.masked_fill(~known, INVALID), _UNDERGROUND_LAYERS)


def labels_of_field(
    density: Float[Tensor, "x y z"], classes: Int[Tensor, "x y z"], threshold: float = 0.2
) -> Int[Tensor, "x y z"]:
    """What a field predicts, in the 15 classes.

    Args:
        density: Density at the voxel centres, 1/m.
        classes: Cityscapes train ids there.
        threshold: Grown density from which on a voxel is occupied (S4C: 0.25).
    """
    labels = LABEL_OF_TRAIN_ID.to(classes.device)[classes.long()]
    return labels.masked_fill(grow(density) < threshold, 0)


@dataclass(frozen=True)
class SscBenchResult:
    """Scores of one range.

    Attributes:
        completion: Geometry and classes; the empty class comes first.
        weighted_miou: Mean of the class scores weighted by how much of the world they are.
    """

    completion: CompletionResult
    weighted_miou: float


class SscBenchMetric:
    """Accumulates frames in the three ranges.

    Args:
        in_view: Voxels that count, see `field_of_view`.
    """

    def __init__(self, in_view: Bool[Tensor, "x y z"]) -> None:
        self.in_view = in_view
        self.metrics = {r: CompletionMetric(CLASSES, INVALID) for r in RANGES_M}

    def update(self, predicted: Int[Tensor, "x y z"], truth: Int[Tensor, "x y z"]) -> None:
        """Count one frame.

        Args:
            predicted: `labels_of_field`'s answer.
            truth: `labels_of_raw`'s answer.
        """
        truth = truth.masked_fill(~self.in_view, INVALID)
        for range_m, metric in self.metrics.items():
            ahead = round(range_m / GRID.voxel_size_m[0])
            middle = GRID.shape[1] // 2
            window = (slice(ahead), slice(middle - ahead // 2, middle + ahead // 2))
            metric.update(predicted[window], truth[window])

    def direct(self) -> dict[float, SscBenchResult]:
        """Scores of the classes as predicted, per range (metres)."""
        return {r: _scored(metric) for r, metric in self.metrics.items()}

    def permutation(self) -> Int[Tensor, " k"]:
        """True class that each predicted class matches best, over the whole range."""
        confusion = self.metrics[RANGES_M[-1]].confusion.cpu().numpy()
        truth, predicted = linear_sum_assignment(confusion, maximize=True)
        return torch.from_numpy(truth[np.argsort(predicted)])

    def hungarian(self) -> dict[float, SscBenchResult]:
        """Scores after matching predicted classes to true ones, the same way for all ranges."""
        order = self.permutation()
        results = {}
        for range_m, metric in self.metrics.items():
            matched = CompletionMetric(CLASSES, INVALID)
            matched.confusion = metric.confusion[order]
            geometry = metric.result()
            classes = _scored(matched)
            results[range_m] = SscBenchResult(
                CompletionResult(
                    geometry.precision,
                    geometry.recall,
                    geometry.iou,
                    classes.completion.class_iou,
                    classes.completion.miou,
                ),
                classes.weighted_miou,
            )
        return results


def _scored(metric: CompletionMetric) -> SscBenchResult:
    result = metric.result()
    weighted = np.average(result.class_iou[1:], weights=CLASS_WEIGHTS)
    return SscBenchResult(result, float(weighted))
