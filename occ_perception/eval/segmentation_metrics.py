"""Pixel classes against labels, with or without matching clusters to classes first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from occ_perception.core.cityscapes import IGNORED, TRAIN_IDS
from occ_perception.core.errors import PredictionError

# Cityscapes train ids; classes that make up a driving scene count more.
CLASS_WEIGHTS = (4, 2, 2, 1, 1, 1, 1, 1, 2, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1)


@dataclass(frozen=True)
class SegmentationResult:
    """Scores 0..1 over everything that was accumulated.

    Attributes:
        class_iou: Intersection over union per class, 0 where a class never occurs.
        miou: Their mean.
        weighted_miou: Their mean with `CLASS_WEIGHTS` (equal weights for other class counts).
        accuracy: Share of pixels that are right.
    """

    class_iou: tuple[float, ...]
    miou: float
    weighted_miou: float
    accuracy: float


def assign_clusters(confusion: Int[Tensor, "classes clusters"]) -> Int[Tensor, " clusters"]:
    """Class of every cluster such that most pixels are right and every class has a cluster.

    Args:
        confusion: Pixels per true class and cluster.

    Raises:
        PredictionError: There are fewer clusters than classes.
    """
    gain = confusion.T.cpu().numpy().astype(np.int64)
    clusters, classes = gain.shape
    if clusters < classes:
        raise PredictionError(f"{clusters} clusters cannot cover {classes} classes")
    # Beyond one cluster per class (forced by the bonus) a cluster takes whatever suits it best.
    bonus = gain.sum() + 1
    free = np.repeat(gain.max(axis=1, keepdims=True), clusters - classes, axis=1)
    _, column = linear_sum_assignment(np.hstack([gain + bonus, free]), maximize=True)
    best = gain.argmax(axis=1)
    return torch.from_numpy(np.where(column < classes, column, best))


class SegmentationMetric:
    """Counts pixels per true class and prediction.

    Args:
        classes: Number of classes.
        clusters: Number of predicted ids, None = as many as classes.
    """

    def __init__(self, classes: int = TRAIN_IDS, clusters: int | None = None) -> None:
        self.classes = classes
        self.confusion = torch.zeros(classes, clusters or classes, dtype=torch.int64)

    def update(self, predicted: Int[Tensor, "*pixels"], truth: Int[Tensor, "*pixels"]) -> None:
        """Count pixels whose true class is not -1.

        Args:
            predicted: Classes or clusters.
            truth: True classes.
        """
        known = truth != IGNORED
        columns = self.confusion.shape[1]
        pairs = truth[known].long() * columns + predicted[known].long()
        counts = torch.bincount(pairs, minlength=self.confusion.numel())
        self.confusion += counts.view_as(self.confusion).cpu()

    def matched(self, assignment: Int[Tensor, " clusters"]) -> Int[Tensor, "classes classes"]:
        """Counts per true class and class of the cluster."""
        table = torch.zeros(self.classes, self.classes, dtype=torch.int64)
        return table.index_add(1, assignment, self.confusion)

    def unsupervised(self) -> SegmentationResult:
        """Scores after the best assignment of clusters."""
        return scores_of(self.matched(assign_clusters(self.confusion)))

    def supervised(self) -> SegmentationResult:
        """Scores of predictions that are classes already."""
        return scores_of(self.confusion)


def scores_of(confusion: Int[Tensor, "k k"]) -> SegmentationResult:
    """Scores of counts per true (row) and predicted (column) class."""
    hits = confusion.diagonal().double()
    union = confusion.sum(dim=0) + confusion.sum(dim=1) - hits
    iou = torch.where(union > 0, hits / union.clamp(min=1), 0.0)
    weights = CLASS_WEIGHTS if len(iou) == len(CLASS_WEIGHTS) else (1,) * len(iou)
    return SegmentationResult(
        class_iou=tuple(iou.tolist()),
        miou=float(iou.mean()),
        weighted_miou=float(np.average(iou.numpy(), weights=weights)),
        accuracy=float(hits.sum() / confusion.sum().clamp(min=1)),
    )


@dataclass(frozen=True)
class FeatureScores:
    """How close predicted features are.

    Attributes:
        l1: Mean absolute difference.
        l2: Mean squared difference.
        cosine: Mean cosine.
    """

    l1: float
    l2: float
    cosine: float


def feature_scores(
    predicted: Float[Tensor, "*places c"], target: Float[Tensor, "*places c"]
) -> FeatureScores:
    """Compare features place by place."""
    difference = predicted - target
    return FeatureScores(
        float(difference.abs().mean()),
        float(difference.square().mean()),
        float(torch.cosine_similarity(predicted, target, dim=-1).mean()),
    )
