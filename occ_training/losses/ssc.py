"""Losses of semantic scene completion on voxels and on LiDAR points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

IGNORE = 255


def frequency_weights(voxels_per_class: Sequence[float]) -> Float[Tensor, " k"]:
    """Class weights 1 / ln(number of voxels), so that rare classes count more."""
    return 1 / torch.log(torch.tensor(voxels_per_class, dtype=torch.float64) + 0.001)


def voxel_cross_entropy(
    logits: Float[Tensor, "b k x y z"],
    target: Int[Tensor, "b x y z"],
    weights: Float[Tensor, " k"],
) -> Float[Tensor, ""]:
    """Weighted mean cross entropy over the labelled voxels."""
    return F.cross_entropy(logits, target.long(), weights.to(logits), ignore_index=IGNORE)


def semantic_affinity_loss(
    logits: Float[Tensor, "b k x y z"], target: Int[Tensor, "b x y z"]
) -> Float[Tensor, ""]:
    """Precision, recall and specificity of every class that occurs (MonoScene, section 3.3)."""
    labelled = target != IGNORE
    probability = logits.float().softmax(dim=1).movedim(1, -1)[labelled]
    truth = target[labelled].long()
    losses = [_affinity(probability[:, c], truth == c) for c in truth.unique().tolist()]
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def geometric_affinity_loss(
    logits: Float[Tensor, "b k x y z"], target: Int[Tensor, "b x y z"]
) -> Float[Tensor, ""]:
    """The same three terms for "occupied" against "empty"."""
    labelled = target != IGNORE
    occupied = 1 - logits.float().softmax(dim=1)[:, 0][labelled]
    return _affinity(occupied, target[labelled] != 0)


def _affinity(probability: Float[Tensor, " n"], truth: Tensor) -> Float[Tensor, ""]:
    """-ln of precision, recall and specificity; a term that is not defined is left out."""
    positive, negative = truth.to(probability), (~truth).to(probability)
    hits = (probability * positive).sum()
    terms = [(((1 - probability) * negative).sum(), negative.sum())]
    if truth.any():
        terms += [(hits, probability.sum()), (hits, positive.sum())]
    ratios = [part / whole for part, whole in terms if whole > 0]
    if not ratios:
        return probability.sum() * 0
    rates = torch.stack(ratios).clamp(max=1)
    # Binary cross entropy is -ln with a floor and finite gradients; autocast refuses it.
    with torch.autocast(rates.device.type, enabled=False):
        return F.binary_cross_entropy(rates, torch.ones_like(rates), reduction="sum")


def point_cross_entropy(
    logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Mean cross entropy over the labelled points (label 0 = none)."""
    labelled = labels != 0
    if not labelled.any():
        return logits.sum() * 0
    return F.cross_entropy(logits[labelled], labels[labelled].long())


def point_lovasz(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Lovasz-softmax (Berman et al. 2018) over the classes present among the labelled points."""
    labelled = labels != 0
    probability, truth = logits.float().softmax(dim=1)[labelled], labels[labelled]
    losses = [_lovasz(probability[:, c], truth == c) for c in truth.unique().tolist()]
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _lovasz(probability: Float[Tensor, " n"], truth: Tensor) -> Float[Tensor, ""]:
    errors, order = (truth.to(probability) - probability).abs().sort(descending=True)
    sorted_truth = truth[order].to(probability)
    total = sorted_truth.sum()
    union = total + (1 - sorted_truth).cumsum(dim=0)
    jaccard = 1 - (total - sorted_truth.cumsum(dim=0)) / union
    return errors @ torch.diff(jaccard, prepend=jaccard.new_zeros(1))
