"""Losses of semantic scene completion on voxels and on LiDAR points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

IGNORE = 255


def frequency_weights(voxels_per_class: Sequence[float]) -> Float[Tensor, " k"]:
    """Class weights 1 / ln(number of voxels), so that rare classes count more."""
    return 1 / torch.log(torch.tensor(voxels_per_class, dtype=torch.float64) + 0.001)


class VoxelTerms(NamedTuple):
    """The three losses on voxels.

    Attributes:
        cross_entropy: See `voxel_cross_entropy`.
        semantic: See `semantic_affinity_loss`.
        geometric: See `geometric_affinity_loss`.
    """

    cross_entropy: Float[Tensor, ""]
    semantic: Float[Tensor, ""]
    geometric: Float[Tensor, ""]


def voxel_terms(
    logits: Float[Tensor, "b k x y z"],
    target: Int[Tensor, "b x y z"],
    weights: Float[Tensor, " k"],
) -> VoxelTerms:
    """All losses on the voxels that have a label; without one they are zero."""
    where = labelled_voxels(target)
    rows = logits.movedim(1, -1).flatten(0, -2)
    return row_terms(rows.index_select(0, where), target.flatten()[where], weights)


def labelled_voxels(target: Int[Tensor, "b x y z"]) -> Int[Tensor, " n"]:
    """Positions in the flattened target of the voxels that have a label."""
    return (target.flatten() != IGNORE).nonzero()[:, 0]


def row_terms(
    logits: Float[Tensor, "n k"], truth: Int[Tensor, " n"], weights: Float[Tensor, " k"]
) -> VoxelTerms:
    """All losses on voxels from one softmax, given the logits of labelled voxels alone."""
    if not len(truth):
        return VoxelTerms(*[logits.sum() * 0] * 3)
    log_probability, truth = logits.float().log_softmax(dim=1), truth.long()
    given = log_probability.gather(1, truth[:, None])[:, 0]
    weight = weights.to(given)[truth]
    cross_entropy = -(weight * given).sum() / weight.sum()
    counts = _SoftCounts.of(log_probability.exp(), given.exp(), truth)
    return VoxelTerms(cross_entropy, counts.semantic_loss(), counts.geometric_loss())


def voxel_cross_entropy(
    logits: Float[Tensor, "b k x y z"],
    target: Int[Tensor, "b x y z"],
    weights: Float[Tensor, " k"],
) -> Float[Tensor, ""]:
    """Weighted mean cross entropy over the labelled voxels."""
    return voxel_terms(logits, target, weights).cross_entropy


def semantic_affinity_loss(
    logits: Float[Tensor, "b k x y z"], target: Int[Tensor, "b x y z"]
) -> Float[Tensor, ""]:
    """Precision, recall and specificity of every class that occurs (MonoScene, section 3.3)."""
    return voxel_terms(logits, target, torch.ones(logits.shape[1])).semantic


def geometric_affinity_loss(
    logits: Float[Tensor, "b k x y z"], target: Int[Tensor, "b x y z"]
) -> Float[Tensor, ""]:
    """The same three terms for "occupied" against "empty"."""
    return voxel_terms(logits, target, torch.ones(logits.shape[1])).geometric


def occupied_overlap_loss(
    logits: Float[Tensor, "n k"], truth: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """-ln of the soft IoU of "occupied"; not published.

    The affinity losses weigh precision, recall and the many empty voxels alike, after which a short
    training calls occupied only what it is sure of. This one asks for what is scored.

    Args:
        logits: Of labelled voxels, class 0 = empty.
        truth: Their classes.
    """
    occupied = truth != 0
    if not occupied.any():
        return logits.sum() * 0
    probability = 1 - logits.float().softmax(dim=1)[:, 0]
    both = probability[occupied].sum()
    return -(both / (probability.sum() + occupied.sum() - both)).clamp(min=1e-6).log()


class _SoftCounts(NamedTuple):
    """What precision, recall and specificity are made of, for all classes at once.

    Attributes:
        hits: `[K]` probability of the class, summed over its own voxels.
        given: `[K]` the same over all voxels.
        truth: `[K]` number of its voxels.
        voxels: Number of all voxels.
    """

    hits: Tensor
    given: Tensor
    truth: Tensor
    voxels: int

    @classmethod
    def of(cls, probability: Tensor, of_truth: Tensor, truth: Tensor) -> _SoftCounts:
        """Counts from probabilities `[N, K]`, those of the true classes, and the true classes."""
        classes = probability.shape[1]
        # Millions of small numbers one after the other need the longer ones.
        zeros = torch.zeros(classes, dtype=torch.float64, device=truth.device)
        hits = zeros.index_add(0, truth, of_truth.double())
        number = torch.bincount(truth, minlength=classes).double()
        return cls(hits, probability.sum(dim=0).double(), number, len(truth))

    def semantic_loss(self) -> Float[Tensor, ""]:
        """Mean over the classes that occur."""
        occurs = self.truth > 0
        return self._affinity(*(t[occurs] for t in self[:3])) / occurs.sum()

    def geometric_loss(self) -> Float[Tensor, ""]:
        """Of everything that is not class 0 taken together."""
        truth = self.truth[1:].sum()
        given = self.voxels - self.given[0]
        hits = truth - (self.given[0] - self.hits[0])
        return self._affinity(hits[None], given[None], truth[None])

    def _affinity(self, hits: Tensor, given: Tensor, truth: Tensor) -> Float[Tensor, ""]:
        """-ln of precision, recall and specificity, summed; what is not defined is left out."""
        others = self.voxels - truth
        rejected = others - (given - hits)
        parts, wholes = torch.cat([hits, hits, rejected]), torch.cat([given, truth, others])
        defined = (wholes > 0) & torch.cat([truth > 0, truth > 0, others > 0])
        rates = (parts[defined] / wholes[defined]).clamp(0, 1)
        # Binary cross entropy is -ln with a floor and finite gradients; autocast refuses it.
        with torch.autocast(rates.device.type, enabled=False):
            return F.binary_cross_entropy(rates, torch.ones_like(rates), reduction="sum").float()


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
