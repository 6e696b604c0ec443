"""Occ3D-nuScenes on a bag: classes inside the camera mask, and rays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.occ3d import FREE, Occ3DMetric, Occ3DProtocol
from occ_perception.eval.rayiou import THRESHOLDS_M, RayIoU
from occ_perception.eval.scoring import Confusion, Scores
from occ_perception.eval.voxel_scorers import VoxelScorer
from occ_perception.eval.voxel_truth import VoxelTopic

_CAMERA_MASK = "/ground_truth/camera_mask"
_LIDAR_FRAMES = ("lidar_top", "velodyne")


class Occ3DScorer(VoxelScorer):
    """Occ3D-nuScenes inside the camera mask.

    Args:
        protocol: Which classes a publication scores.
        topic: Topic of the truth; empty = the only one.
        mask: Topic of the camera mask.
    """

    name = "occ3d"

    def __init__(self, protocol: Occ3DProtocol, topic: str = "", mask: str = _CAMERA_MASK) -> None:
        super().__init__(topic)
        self._protocol, self._mask_topic = protocol, mask
        self.metric = Occ3DMetric(protocol)
        self._mask: VoxelTopic | None = None
        self._names: tuple[str, ...] = ()

    def open(self, frames: BagFrames) -> VoxelTopic:
        """Begin with a bag.

        Raises:
            ConfigError: The truth is not that of Occ3D.
        """
        truth = super().open(frames)
        if truth.label_map.name != "occ3d_nuscenes":
            raise ConfigError(
                f"bag {frames.bag} has voxels of '{truth.label_map.name}'; this protocol scores "
                "occ3d_nuscenes"
            )
        self._names = truth.label_map.names
        self._mask = VoxelTopic(frames.bag, self._mask_topic, truth=True)
        return truth

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Count an answer."""
        target = self.target(prediction, stamp_ns, with_unknown=False)
        mask = self._mask.known_at(stamp_ns)
        if mask is None:
            raise BagError(f"there is no camera mask at {stamp_ns} on {self._mask_topic}")
        seen = torch.from_numpy(mask).to(target.device)
        alone = Occ3DMetric(self._protocol)
        for metric in (self.metric, alone):
            metric.update(prediction.labels, target, seen)
        return _defined(alone.result().miou / 100)

    def scores(self) -> Scores:
        """MIoU and IoU."""
        result = self.metric.result()
        named = {"miou": result.miou, "iou": result.iou, "iou free": result.iou_free}
        return {name: _defined(value / 100) for name, value in named.items()}

    def classes(self) -> Mapping[str, Scores]:
        """IoU of the scored classes."""
        values = self.metric.result().class_iou
        rows = {self._names[c]: _defined(values[c]) for c in self._protocol.scored}
        return {"iou": rows} if self._names else {}

    def confusion(self) -> Confusion | None:
        """Counts over all frames."""
        counts = self.metric.confusion.cpu().numpy()
        return Confusion(self._names, counts) if self._names else None


class RayScorer(VoxelScorer):
    """RayIoU: classes and distances where rays from the LiDAR hit."""

    name = "rayiou"

    def __init__(self, topic: str = "") -> None:
        super().__init__(topic)
        self.metric: RayIoU | None = None
        self._origins: Callable[[int], Tensor] | None = None

    def open(self, frames: BagFrames) -> VoxelTopic:
        """Begin with a bag."""
        truth = super().open(frames)
        self._origins = frames.scanner_places(truth.stamps_ns, _LIDAR_FRAMES)
        return truth

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Count the rays of an answer; no mask."""
        target = self.target(prediction, stamp_ns, with_unknown=False)
        if self.metric is None:
            self.metric = RayIoU(self.truth.grid, FREE, target.device)
        origins = self._origins(stamp_ns).to(target.device)
        self.metric.update(prediction.labels, target, origins)
        return None

    def scores(self) -> Scores:
        """RayIoU at every threshold, and their mean."""
        if self.metric is None:
            return {}
        result = self.metric.result()
        at = zip(THRESHOLDS_M, result.at, strict=True)
        return {"rayiou": _defined(result.mean)} | {f"rayiou {m:g} m": _defined(v) for m, v in at}


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
