"""Clusters of unit vectors by their direction: spherical k-means (Dhillon and Modha 2001)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def spherical_kmeans(
    vectors: Float[Tensor, "n c"], clusters: int, generator: torch.Generator, rounds: int = 30
) -> Float[Tensor, "k c"]:
    """Unit centres such that vectors are alike to the nearest one.

    The first centres are drawn far apart (k-means++); a centre that nothing is near to moves to
    the vector that fits its own centre least.

    Args:
        vectors: What is clustered; lengths do not matter.
        clusters: Number of centres.
        generator: Source of randomness.
        rounds: Of assigning and averaging.
    """
    units = F.normalize(vectors, dim=-1)
    centres = _spread(units, clusters, generator)
    for _ in range(rounds):
        fit, nearest = (units @ centres.T).max(dim=-1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, units)
        empty = torch.bincount(nearest, minlength=clusters) == 0
        sums[empty] = units[fit.topk(int(empty.sum()), largest=False).indices]
        centres = F.normalize(sums, dim=-1)
    return centres


def nearest_centre(
    vectors: Float[Tensor, "*b c"], centres: Float[Tensor, "k c"]
) -> Int[Tensor, "*b"]:
    """Number of the centre that each vector is most alike to."""
    return (F.normalize(vectors, dim=-1) @ centres.T).argmax(dim=-1)


def _spread(units: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    chosen = [int(torch.randint(len(units), (), generator=generator))]
    far = torch.full(units.shape[:1], torch.inf)
    for _ in range(clusters - 1):
        far = far.minimum((1 - units @ units[chosen[-1]]).clamp(min=1e-9))
        chosen.append(int(torch.multinomial(far, 1, generator=generator)))
    return units[chosen]
