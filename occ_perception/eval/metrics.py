"""Metrics of semantic scene completion, accumulated over a data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from occ_perception.core.errors import PredictionError

_IDS = 256


@dataclass(frozen=True)
class CompletionResult:
    """Scores 0..1 over everything that was accumulated.

    Attributes:
        precision: Of "occupied", whatever the class.
        recall: Of "occupied".
        iou: Intersection over union of "occupied".
        class_iou: Intersection over union per class, the empty one included.
        miou: Mean of `class_iou` without the empty class; classes that never occur count as 0.
    """

    precision: float
    recall: float
    iou: float
    class_iou: tuple[float, ...]
    miou: float


class CompletionMetric:
    """Semantic scene completion as MonoScene and its successors score it.

    Counts are summed over all frames before any ratio is taken; every voxel whose label is not
    `ignore` counts, seen by the camera or not.

    Args:
        classes: Number of classes, id 0 = empty.
        ignore: Label of voxels that do not count.
        device: Where counts are kept; that of the predictions avoids copies.
    """

    def __init__(
        self, classes: int = 20, ignore: int = 255, device: torch.device | str = "cpu"
    ) -> None:
        self.classes = classes
        self.ignore = ignore
        self.ignored = 0
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)

    def update(self, prediction: Int[Tensor, "*voxels"], target: Int[Tensor, "*voxels"]) -> None:
        """Count one or more frames.

        Args:
            prediction: Class ids.
            target: Class ids of the ground truth, `ignore` where there is none.

        Raises:
            PredictionError: Shapes differ or an id is not a class.
        """
        if prediction.shape != target.shape:
            raise PredictionError(
                f"prediction {tuple(prediction.shape)} and ground truth {tuple(target.shape)} "
                "are not on the same grid"
            )
        # All pairs of bytes in one pass: sorting out the scored voxels first costs more.
        pairs = _as_ids(target).to(torch.int32) * _IDS + _as_ids(prediction)
        table = torch.bincount(pairs.flatten(), minlength=_IDS**2).view(_IDS, _IDS)
        ignored = int(table[self.ignore].sum())
        table[self.ignore] = 0
        known = table[: self.classes, : self.classes]
        if int(known.sum()) != int(table.sum()):
            raise PredictionError(f"a voxel id is not one of the {self.classes} classes")
        self.confusion += known.to(self.confusion.device)
        self.ignored += ignored

    def add(self, other: CompletionMetric) -> None:
        """Count what another metric of the same classes has counted."""
        self.confusion += other.confusion.to(self.confusion.device)
        self.ignored += other.ignored

    def class_counts(self) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"], Int[Tensor, " k"]]:
        """True positives, false positives and false negatives per class."""
        hits = self.confusion.diagonal()
        return hits, self.confusion.sum(dim=0) - hits, self.confusion.sum(dim=1) - hits

    def completion_counts(self) -> tuple[int, int, int]:
        """True positives, false positives and false negatives of "occupied"."""
        table = self.confusion
        counts = table[1:, 1:].sum(), table[0, 1:].sum(), table[1:, 0].sum()
        hits, false_alarms, misses = (int(count) for count in counts)
        return hits, false_alarms, misses

    def result(self) -> CompletionResult:
        """Scores of everything counted so far; what is undefined is 0."""
        hits, false_alarms, misses = self.completion_counts()
        per_class = class_iou(*self.class_counts())
        return CompletionResult(
            precision=_ratio(hits, hits + false_alarms),
            recall=_ratio(hits, hits + misses),
            iou=_ratio(hits, hits + false_alarms + misses),
            class_iou=tuple(per_class.tolist()),
            miou=float(per_class[1:].mean()),
        )


def _as_ids(volume: Int[Tensor, "*voxels"]) -> Int[Tensor, "*voxels"]:
    """Ids that fit into a byte, as all ids do."""
    if volume.dtype != torch.uint8 and volume.numel():
        lowest, highest = (int(v) for v in volume.aminmax())
        if lowest < 0 or highest >= _IDS:
            raise PredictionError(f"voxel ids {lowest} to {highest} do not fit into a byte")
    return volume


def class_iou(
    hits: Int[Tensor, " k"], false_alarms: Int[Tensor, " k"], misses: Int[Tensor, " k"]
) -> Tensor:
    """Intersection over union per class, 0 where a class never occurs."""
    return hits / (hits + false_alarms + misses + 1e-5)  # the benchmark's epsilon


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
