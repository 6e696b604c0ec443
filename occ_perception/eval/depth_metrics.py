"""Depth against sparse LiDAR depth, as the monocular literature scores it (Eigen et al. 2014)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.core.errors import PredictionError


@dataclass(frozen=True)
class DepthScores:
    """Scores of one image.

    Attributes:
        abs_rel: Mean relative difference.
        sq_rel: Mean squared difference over true depth, metres.
        rmse: Root mean squared difference, metres.
        rmse_log: The same of the logarithms.
        a1: Share of pixels within a factor of 1.25.
        a2: Within 1.25 squared.
        a3: Within 1.25 cubed.
    """

    abs_rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    a1: float
    a2: float
    a3: float


def _as_is(predicted: Tensor, _truth: Tensor, _hit: Tensor) -> Tensor:
    return predicted


def _median(predicted: Tensor, truth: Tensor, hit: Tensor) -> Tensor:
    return predicted * (truth[hit].median() / predicted[hit].median())


def _least_squares(predicted: Tensor, truth: Tensor, hit: Tensor) -> Tensor:
    p, g = predicted[hit].double(), truth[hit].double()
    design = torch.stack([p, torch.ones_like(p)], dim=1)
    scale, shift = torch.linalg.lstsq(design, g[:, None]).solution[:, 0]
    return (predicted.double() * scale + shift).to(predicted)


# How a prediction is aligned to the truth before it is scored.
ALIGNMENTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "none": _as_is,
    "median": _median,
    "least_squares": _least_squares,
}


def depth_scores(
    predicted_m: Float[Tensor, "h w"],
    truth_m: Float[Tensor, "h2 w2"],
    alignment: str = "none",
    range_m: tuple[float, float] = (1e-3, 80.0),
) -> DepthScores:
    """Score one depth map.

    Args:
        predicted_m: Predicted depth, metres; nearest-resized to the truth's size.
        truth_m: True depth, metres; 0 = none.
        alignment: Key of `ALIGNMENTS`.
        range_m: Bounds of the prediction; the truth is not bounded.

    Raises:
        PredictionError: The truth has no pixel with depth.
    """
    hit = truth_m != 0
    if not bool(hit.any()):
        raise PredictionError("the true depth image has no pixel with depth, nothing to score")
    predicted = F.interpolate(predicted_m[None, None], size=truth_m.shape, mode="nearest")[0, 0]
    predicted = ALIGNMENTS[alignment](predicted, truth_m, hit).clamp(*range_m)
    p, g = predicted[hit], truth_m[hit]
    ratio = torch.maximum(g / p, p / g)
    difference = g - p
    return DepthScores(
        abs_rel=float((difference.abs() / g).mean()),
        sq_rel=float((difference.square() / g).mean()),
        rmse=float(difference.square().mean().sqrt()),
        rmse_log=float((g.log() - p.log()).square().mean().sqrt()),
        a1=float((ratio < 1.25).float().mean()),
        a2=float((ratio < 1.25**2).float().mean()),
        a3=float((ratio < 1.25**3).float().mean()),
    )
