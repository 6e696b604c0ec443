"""How benchmarks of semantic scene completion score: classes, ranges, ids of a submission."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from occ_perception.core.errors import ConfigError, PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.eval.metrics import CompletionMetric

IGNORE = 255


@dataclass(frozen=True)
class Protocol:
    """A benchmark.

    Attributes:
        name: For tables.
        label_map: Name of the label map; its ids are 0 (empty) to K - 1.
        ranges_m: Scored depths in front of the vehicle; as wide to both sides together.
        raw_ids: Id of each class in the files of a submission.
    """

    name: str
    label_map: str
    ranges_m: tuple[float, ...] = (12.8, 25.6, 51.2)
    raw_ids: tuple[int, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, the empty one first."""
        return load_label_map(self.label_map).names


SEMANTICKITTI = Protocol(
    "SemanticKITTI scene completion",
    "semantickitti",
    raw_ids=(0, 10, 11, 15, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 70, 71, 72, 80, 81),
)
# 19 classes; the published VLScene code averages over a twentieth that never occurs.
SSCBENCH_KITTI360 = Protocol("SSCBench-KITTI-360", "sscbench_kitti360")
PROTOCOLS = {p.label_map: p for p in (SEMANTICKITTI, SSCBENCH_KITTI360)}


def find_protocol(label_map: str) -> Protocol:
    """The protocol of voxels with a label map.

    Raises:
        ConfigError: There is none.
    """
    if label_map not in PROTOCOLS:
        raise ConfigError(
            f"no protocol scores voxels of '{label_map}'; there are: {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[label_map]


def within_range(grid: GridSpec, range_m: float) -> npt.NDArray[np.bool_]:
    """`[X, Y, 1]`: voxels whose centre is at most so far ahead, and half of it to a side."""
    x, y = grid.axis_centers(0) < range_m, np.abs(grid.axis_centers(1)) < range_m / 2
    return (x[:, None] & y)[..., None]


def box_within_range(grid: GridSpec, range_m: float) -> tuple[slice, slice]:
    """The same as a block of rows and columns, which costs nothing to cut out."""
    inside = within_range(grid, range_m)[..., 0]
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    return tuple(slice(*(i[0], i[-1] + 1) if i.size else (0, 0)) for i in (rows, columns))


@dataclass(frozen=True)
class Scores:
    """Scores 0..1 of one range; None where the truth knows nothing there.

    Attributes:
        iou: Intersection over union of "occupied".
        precision: Of "occupied".
        recall: Of "occupied".
        miou: Mean over all classes but the empty one; classes that never occur count as 0.
        class_iou: By class, the empty one first.
        voxels: Number of scored voxels.
    """

    iou: float | None
    precision: float | None
    recall: float | None
    miou: float | None
    class_iou: tuple[float, ...]
    voxels: int


class RangedMetric:
    """Counts at several ranges over any number of frames.

    Args:
        protocol: Classes and ranges.
        grid: Where the voxels are.
        device: Where counts are made.
    """

    def __init__(
        self, protocol: Protocol, grid: GridSpec, device: torch.device | str = "cpu"
    ) -> None:
        self.protocol, self.grid = protocol, grid
        classes = len(protocol.classes)
        self.metrics = {r: CompletionMetric(classes, IGNORE, device) for r in protocol.ranges_m}
        self._boxes = {r: box_within_range(grid, r) for r in protocol.ranges_m}

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count a frame.

        Args:
            prediction: `[X, Y, Z]` class ids.
            target: `[X, Y, Z]` class ids of the truth, 255 where there is none.

        Raises:
            PredictionError: The volumes are not on this grid.
        """
        for volume in (prediction, target):
            if tuple(volume.shape) != self.grid.shape:
                raise PredictionError(
                    f"voxels of shape {tuple(volume.shape)} are not on the grid {self.grid.shape}"
                )
        for range_m, metric in self.metrics.items():
            box = self._boxes[range_m]
            metric.update(prediction[box], target[box])

    def add(self, other: RangedMetric) -> None:
        """Count what another metric of the same protocol has counted."""
        for range_m, metric in self.metrics.items():
            metric.add(other.metrics[range_m])

    def scores(self) -> dict[float, Scores]:
        """Scores by range, metres."""
        return {range_m: scores_of(metric) for range_m, metric in self.metrics.items()}


def scores_of(metric: CompletionMetric) -> Scores:
    """Scores of what a metric has counted."""
    voxels = int(metric.confusion.sum())
    if not voxels:
        return Scores(None, None, None, None, (), 0)
    result = metric.result()
    return Scores(
        result.iou, result.precision, result.recall, result.miou, result.class_iou, voxels
    )
