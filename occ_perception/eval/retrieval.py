"""Open-vocabulary retrieval of LiDAR points (POP-3D's benchmark): how well words find voxels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.core.errors import PredictionError
from occ_perception.core.grid import GridSpec


class PointScores(NamedTuple):
    """How well points answer to a query.

    Attributes:
        scores: 0..1, NaN where the volume holds nothing, as beyond its edges.
        inside: Points strictly inside the grid; the others do not count.
    """

    scores: Float[Tensor, " n"]
    inside: Bool[Tensor, " n"]


def score_points(
    vectors: Float[Tensor, "x y z c"],
    points_m: Float[Tensor, "n 3"],
    query: Float[Tensor, " c"],
    grid: GridSpec,
) -> PointScores:
    """Similarity of a query with the volume at points; density plays no part.

    Args:
        vectors: Unit vectors of the voxels.
        points_m: In the grid's frame, metres.
        query: Unit vector of the words.
        grid: Where the voxels are.
    """
    lower, upper = (points_m.new_tensor(bound) for bound in (grid.origin_m, grid.upper_m))
    inside = ((points_m > lower) & (points_m < upper)).all(dim=-1)
    position = 2 * (points_m - lower) / (upper - lower) - 1
    volume = vectors.permute(3, 0, 1, 2)[None]
    # Voxel centres are half a voxel inside the range: what the evaluation does, not the renderer.
    sampled = F.grid_sample(volume, position.flip(-1)[None, :, None, None], align_corners=False)
    sampled = sampled[0, :, :, 0, 0].T
    sampled = sampled / sampled.norm(dim=-1, keepdim=True)
    return PointScores((sampled @ query + 1) / 2, inside)


def average_precision(scores: Float[Tensor, " n"], relevant: Bool[Tensor, " n"]) -> float:
    """Sum over all distinct scores of precision times gain in recall.

    Raises:
        PredictionError: No point is relevant, so nothing can be found.
    """
    if not bool(relevant.any()):
        raise PredictionError("no point is relevant to the query, average precision is undefined")
    order = scores.argsort(descending=True)
    ranked = scores[order]
    hits = relevant[order].cumsum(0).double()
    last_of_ties = torch.cat([ranked[1:] != ranked[:-1], ranked.new_ones(1, dtype=torch.bool)])
    hits = hits[last_of_ties]
    places = last_of_ties.nonzero()[:, 0] + 1
    recall = hits / hits[-1]
    gain = recall.diff(prepend=recall.new_zeros(1))
    return float((gain * hits / places).sum())
