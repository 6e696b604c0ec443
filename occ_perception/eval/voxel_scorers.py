"""Benchmarks on voxel truth: completion with or without classes, Occ3D, rays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from occ_perception.core.camera import Camera
from occ_perception.core.errors import BagError, PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.protocols import IGNORE, RangedMetric, find_protocol, within_range
from occ_perception.eval.scoring import Confusion, Scores
from occ_perception.eval.voxel_truth import VoxelTopic

NOTHING: frozenset[str] = frozenset()


def voxels_in_view(grid: GridSpec, camera: Camera) -> npt.NDArray[np.bool_]:
    """`[X, Y, Z]`: voxels whose centre falls into a camera's image."""
    T = np.linalg.inv(camera.T_base_cam)
    centres = grid.centers().reshape(-1, 3).numpy().astype(np.float64)
    x, y, z = (centres @ T[:3, :3].T + T[:3, 3]).T
    ahead = np.maximum(z, 1e-6)
    u = camera.P[0, 0] * x / ahead + camera.P[0, 2]
    v = camera.P[1, 1] * y / ahead + camera.P[1, 2]
    inside = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    return inside.reshape(grid.shape)


class VoxelScorer:
    """What benchmarks on the voxel truth of a bag have in common.

    Args:
        topic: Topic of the truth; empty = the only one.
    """

    name = "voxels"
    wanted = NOTHING

    def __init__(self, topic: str = "") -> None:
        self._topic = topic
        self.truth: VoxelTopic | None = None

    def open(self, frames: BagFrames) -> VoxelTopic:
        """Begin with a bag.

        Raises:
            BagError: It has no voxel truth.
        """
        self.truth = VoxelTopic(frames.bag, self._topic, truth=True)
        return self.truth

    def target(self, prediction: Prediction, stamp_ns: int, *, with_unknown: bool = True) -> Tensor:
        """Ids of the truth on the device of the answer.

        Args:
            prediction: The answer.
            stamp_ns: Stamp of the truth.
            with_unknown: Mark what no sensor saw as 255; else the ids as they are stored.

        Raises:
            BagError: The bag has no truth at this stamp.
            PredictionError: The answer is on another grid.
        """
        read = self.truth.truth_at if with_unknown else self.truth.at
        labels = read(stamp_ns)
        if labels is None:
            raise BagError(f"bag {self.truth.bag} has no voxel truth at {stamp_ns}")
        here, there = prediction.grid, self.truth.grid
        same = np.allclose(here.origin_m, there.origin_m, atol=1e-4)
        if here.shape != there.shape or not same:
            raise PredictionError(
                f"the answer is on a grid of {here.shape} from {here.origin_m} m, the truth on "
                f"{there.shape} from {there.origin_m} m: give the system the grid of the truth"
            )
        return torch.from_numpy(labels).to(prediction.labels.device)

    def classes(self) -> Mapping[str, Scores]:
        """No classes by default."""
        return {}

    def confusion(self) -> Confusion | None:
        """Not counted by default."""
        return None


class CompletionScorer(VoxelScorer):
    """Classes per voxel, at the ranges of the truth's benchmark."""

    name = "completion"

    def __init__(self, topic: str = "") -> None:
        super().__init__(topic)
        self.metric: RangedMetric | None = None

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Count an answer."""
        target = self.target(prediction, stamp_ns)
        protocol = find_protocol(self.truth.label_map.name)
        device = prediction.labels.device
        if self.metric is None:
            self.metric = RangedMetric(protocol, self.truth.grid, device)
        alone = RangedMetric(protocol, self.truth.grid, device)
        alone.update(prediction.labels, target)
        self.metric.add(alone)
        return alone.scores()[max(protocol.ranges_m)].miou

    def scores(self) -> Scores:
        """IoU and mIoU at every range."""
        found = {} if self.metric is None else self.metric.scores()
        names = ("iou", "precision", "recall", "miou")
        return {f"{n} {r:g} m": getattr(s, n) for r, s in found.items() for n in names}

    def classes(self) -> Mapping[str, Scores]:
        """IoU per class at every range."""
        if self.metric is None:
            return {}
        names = self.metric.protocol.classes
        return {
            f"{r:g} m": dict(zip(names[1:], s.class_iou[1:], strict=False))
            for r, s in self.metric.scores().items()
        }

    def confusion(self) -> Confusion | None:
        """Counts at the largest range."""
        if self.metric is None:
            return None
        widest = self.metric.metrics[max(self.metric.metrics)]
        return Confusion(self.metric.protocol.classes, widest.confusion.cpu().numpy())


class GeometryScorer(VoxelScorer):
    """Occupied or free, whatever the classes: what a density field and every floor can be asked.

    Args:
        topic: Topic of the truth; empty = the only one.
        free_id: Id of empty space in the answers.
        in_view: Only voxels in the image of the system's first camera.
    """

    def __init__(self, topic: str = "", *, free_id: int = 0, in_view: bool = False) -> None:
        super().__init__(topic)
        self.name = "geometry in view" if in_view else "geometry"
        self._free_id, self._in_view = free_id, in_view
        self._counts: dict[float, npt.NDArray[np.int64]] = {}
        self._mask: npt.NDArray[np.bool_] | None = None

    def open(self, frames: BagFrames) -> VoxelTopic:
        """Begin with a bag."""
        truth = super().open(frames)
        if self._in_view:
            self._mask = voxels_in_view(truth.grid, frames.cameras[0])
        return truth

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Count an answer; what the system does not know counts as free."""
        target = self.target(prediction, stamp_ns)
        given = (prediction.labels != self._free_id) & (prediction.labels != IGNORE)
        if prediction.known is not None:
            given &= prediction.known
        known, wanted = target != IGNORE, target != self.truth.label_map.free_id
        if self._mask is not None:
            known &= torch.from_numpy(self._mask).to(known.device)
        for range_m in find_ranges(self.truth):
            near = torch.from_numpy(within_range(self.truth.grid, range_m)).to(known.device)
            here = known & near
            parts = (given & wanted, given & ~wanted, ~given & wanted)
            found = np.array([int((part & here).sum()) for part in parts])
            self._counts[range_m] = self._counts.get(range_m, 0) + found
        return _share(found[0], found.sum())

    def scores(self) -> Scores:
        """IoU, precision and recall of "occupied" at every range."""
        out: dict[str, float | None] = {}
        for range_m, (tp, fp, fn) in self._counts.items():
            out[f"iou {range_m:g} m"] = _share(tp, tp + fp + fn)
            out[f"precision {range_m:g} m"] = _share(tp, tp + fp)
            out[f"recall {range_m:g} m"] = _share(tp, tp + fn)
        return out


def find_ranges(truth: VoxelTopic) -> tuple[float, ...]:
    """Ranges at which this truth is scored."""
    if truth.label_map.name == "occ3d_nuscenes":
        return (80.0,)  # the whole grid
    return find_protocol(truth.label_map.name).ranges_m


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
