"""Distilling features into codes that cluster (STEGO, Hamilton et al. 2022, on 3D samples)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.systems.scenedino.semantic_head import unit


class PairWeight(NamedTuple):
    """How a kind of pair enters the loss.

    Attributes:
        weight: Weight of the term.
        shift: Correlation of features above which codes are pulled together.
    """

    weight: float
    shift: float


# Published constants (found by the authors' search).
SELF = PairWeight(0.08146997886146659, 0.43610463774158115)
NEIGHBOUR = PairWeight(0.4156436438453117, 0.18458300726748128)
RANDOM = PairWeight(0.6702352279261414, 0.8709334888837256)


def correlation(a: Float[Tensor, "n s c"], b: Float[Tensor, "n t c"]) -> Float[Tensor, "n s t"]:
    """Cosine of every sample of a crop with every sample of its partner."""
    return unit(a) @ unit(b).mT


def correlation_loss(
    features: Float[Tensor, "n s t"], codes: Float[Tensor, "n s t"], pair: PairWeight
) -> Float[Tensor, ""]:
    """Codes of alike features attract each other, the others repel.

    Args:
        features: Correlation of the frozen features.
        codes: Correlation of the codes.
        pair: Kind of pair.
    """
    return (-pair.weight * codes.clamp(min=0) * (features - pair.shift)).mean()


def cluster_loss(cosines: Float[Tensor, "*pixels k"]) -> Float[Tensor, ""]:
    """Pull every feature's nearest centre towards it (hard assignment)."""
    return -cosines.amax(dim=-1).mean()


def probe_loss(logits: Float[Tensor, "b h w k"], labels: Int[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Cross entropy of a linear probe; -1 is ignored."""
    return F.cross_entropy(logits.movedim(-1, 1), labels.long(), ignore_index=-1)


class CropBuffer(nn.Module):
    """The last crops seen, as partners for new ones; a checkpoint keeps them.

    Args:
        crops: Number of crops kept.
        samples: Samples per crop.
        channels: Channels of the features.
    """

    features: Tensor
    means: Tensor
    counts: Tensor

    def __init__(self, crops: int, samples: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(crops, samples, channels))
        self.register_buffer("means", torch.zeros(crops, channels))
        self.register_buffer("counts", torch.zeros(2, dtype=torch.int64))

    @property
    def next(self) -> int:
        """Row that the next crop gets."""
        return int(self.counts[0])

    @property
    def filled(self) -> int:
        """Rows that hold a crop."""
        return int(self.counts[1])

    def count(self, following: int, filled: int) -> None:
        """Set `next` and `filled`."""
        self.counts.copy_(torch.tensor([following, filled]))

    @torch.no_grad()
    def add(self, crops: Float[Tensor, "n s c"], means: Float[Tensor, "n c"]) -> None:
        """Overwrite the oldest crops.

        Args:
            crops: Features of new crops; of more than fit, the last are kept.
            means: Their unit descriptors.
        """
        size = len(self.means)
        crops, means = crops[-size:], means[-size:]
        rows = (self.next + torch.arange(len(crops), device=crops.device)) % size
        self.features[rows] = crops.to(self.features.dtype)
        self.means[rows] = means.to(self.means.dtype)
        self.count((self.next + len(crops)) % size, min(size, self.filled + len(crops)))

    def neighbours(
        self, means: Float[Tensor, "n c"], pick: Int[Tensor, " n"]
    ) -> Float[Tensor, "n s c"]:
        """For each descriptor one of its nearest crops, itself left out.

        Args:
            means: Unit descriptors of crops that were just added.
            pick: Which of the nearest, 0 = the nearest other crop.
        """
        nearest = (means @ self.means.T).topk(int(pick.max()) + 2, dim=1).indices[:, 1:]
        return self.features[nearest.gather(1, pick[:, None])[:, 0]]
