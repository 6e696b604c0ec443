"""SSCBench-KITTI-360 without labels, on a bag."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.scoring import Scores
from occ_perception.eval.sscbench import CLASSES, RANGES_M, SscBenchMetric, labels_of_raw
from occ_perception.eval.voxel_scorers import VoxelScorer, voxels_in_view
from occ_perception.eval.voxel_truth import VoxelTopic


class SscBenchScorer(VoxelScorer):
    """SSCBench-KITTI-360 in 15 classes, three ranges, in the view of the camera.

    Args:
        topic: Topic of the truth; empty = the only one.
    """

    name = "sscbench 15"

    def __init__(self, topic: str = "") -> None:
        super().__init__(topic)
        self._metric: SscBenchMetric | None = None
        self._in_view: Tensor | None = None

    def open(self, frames: BagFrames) -> VoxelTopic:
        """Begin with a bag.

        Raises:
            ConfigError: The truth is not SSCBench's.
        """
        truth = super().open(frames)
        if truth.label_map.name != "sscbench_kitti360":
            raise ConfigError(
                f"bag {frames.bag} has voxels of '{truth.label_map.name}'; this benchmark scores "
                "sscbench_kitti360"
            )
        self._in_view = torch.from_numpy(voxels_in_view(truth.grid, frames.cameras[0]))
        return truth

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Count an answer; what the system does not know is empty."""
        target = labels_of_raw(self.target(prediction, stamp_ns).cpu().long())
        given = prediction.labels.cpu().long()
        if prediction.known is not None:
            given = given.masked_fill(~prediction.known.cpu(), 0)
        if int(given.max()) >= CLASSES:
            raise ConfigError("this benchmark scores the 15 classes of SSCBench, not clusters")
        if self._metric is None:
            self._metric = SscBenchMetric(self._in_view)
        alone = SscBenchMetric(self._in_view)
        self._metric.in_view = self._in_view
        for metric in (self._metric, alone):
            metric.update(given, target)
        return alone.direct()[RANGES_M[-1]].completion.miou

    def scores(self) -> Scores:
        """Geometry, and classes as they are answered and after the best matching."""
        if self._metric is None:
            return {}
        out: dict[str, float | None] = {}
        matched = self._metric.hungarian()
        for range_m, result in self._metric.direct().items():
            row = f"{range_m:g} m"
            for name in ("iou", "precision", "recall", "miou"):
                out[f"{name} {row}"] = getattr(result.completion, name)
            out[f"weighted miou {row}"] = result.weighted_miou
            out[f"matched miou {row}"] = matched[range_m].completion.miou
        return out

    def classes(self) -> Mapping[str, Scores]:
        """IoU per class at every range, as answered."""
        if self._metric is None:
            return {}
        names = load_label_map("sscbench_15").names[1:]
        return {
            f"{r:g} m": dict(zip(names, result.completion.class_iou[1:], strict=True))
            for r, result in self._metric.direct().items()
        }
