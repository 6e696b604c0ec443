"""Occ3D-nuScenes: mIoU over classes and IoU of occupied space inside the camera mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occ_perception.core.errors import PredictionError

CLASSES = 18
FREE = 17


@dataclass(frozen=True)
class Occ3DProtocol:
    """Which voxels and classes a publication scores.

    Attributes:
        scored: Classes whose IoU is averaged.
        skipped_truth: Voxels of these true classes do not count at all.
    """

    scored: tuple[int, ...] = tuple(range(FREE))
    skipped_truth: tuple[int, ...] = ()


# "others" counts although hardly anything of it is ever predicted.
LANGOCC_PROTOCOL = Occ3DProtocol()
# "others" and "other_flat" were left out of the average in 2025.
GAUSSIANFLOWOCC_PROTOCOL = Occ3DProtocol(
    scored=(*range(1, 12), 13, 14, 15, 16), skipped_truth=(0, 12)
)


@dataclass(frozen=True)
class Occ3DResult:
    """Scores over everything that was accumulated.

    Attributes:
        class_iou: IoU 0..1 of all 18 classes, NaN where a class never occurs.
        miou: Mean over the scored classes that occur, percent.
        iou: IoU of occupied voxels, percent.
        iou_free: IoU of free voxels, percent.
    """

    class_iou: tuple[float, ...]
    miou: float
    iou: float
    iou_free: float


class Occ3DMetric:
    """Confusion matrices, summed over all frames before any ratio is taken.

    Args:
        protocol: What is scored.
        device: Where counts are kept; that of the predictions avoids copies.
    """

    def __init__(
        self,
        protocol: Occ3DProtocol = LANGOCC_PROTOCOL,
        device: torch.device | str = "cpu",
    ) -> None:
        self.protocol = protocol
        # Rows are the truth, columns the prediction.
        self.confusion = torch.zeros(CLASSES, CLASSES, dtype=torch.int64, device=device)
        self.occupancy = torch.zeros(2, 2, dtype=torch.int64, device=device)

    def update(
        self,
        prediction: Int[Tensor, "*voxels"],
        target: Int[Tensor, "*voxels"],
        camera_mask: Bool[Tensor, "*voxels"],
    ) -> None:
        """Count one or more frames.

        Args:
            prediction: Class ids 0..17, 17 = free.
            target: Class ids of the ground truth; ids above 17 have no class, but are occupied.
            camera_mask: Voxels that a camera observes.

        Raises:
            PredictionError: Shapes differ or a predicted id is not a class.
        """
        if not prediction.shape == target.shape == camera_mask.shape:
            raise PredictionError(
                f"prediction {tuple(prediction.shape)}, ground truth {tuple(target.shape)} and "
                f"camera mask {tuple(camera_mask.shape)} are not on the same grid"
            )
        skipped = torch.tensor(self.protocol.skipped_truth, device=target.device)
        counts = camera_mask & ~torch.isin(target, skipped)
        truth, answer = target[counts].long(), prediction[counts].long()
        if answer.numel() and int(answer.amax()) >= CLASSES:
            raise PredictionError(f"a predicted voxel id is not one of the {CLASSES} classes")
        known = truth < CLASSES
        self.confusion += _table(truth[known], answer[known], CLASSES).to(self.confusion.device)
        free = _table((truth == FREE).long(), (answer == FREE).long(), 2)
        self.occupancy += free.to(self.occupancy.device)

    def result(self) -> Occ3DResult:
        """Scores of everything counted so far."""
        per_class = _iou(self.confusion)
        occupied, free = (100 * _iou(self.occupancy)).tolist()
        scored = per_class[list(self.protocol.scored)]
        return Occ3DResult(tuple(per_class.tolist()), float(100 * scored.nanmean()), occupied, free)


def _table(truth: Int[Tensor, " n"], answer: Int[Tensor, " n"], size: int) -> Int[Tensor, "k k"]:
    return torch.bincount(truth * size + answer, minlength=size**2).view(size, size)


def _iou(confusion: Int[Tensor, "k k"]) -> Float[Tensor, " k"]:
    hits = confusion.diagonal().double()
    return hits / (confusion.sum(dim=0) + confusion.sum(dim=1) - hits)
