"""Losses on rendered rays: which rays can be judged, and how rendered depth is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Share of a ray's weight on points that a view does not see, above which the view is no witness.
_UNSEEN_SHARE = 0.9
# Spread of the colours along a ray below which any depth explains the pixel.
_LEAST_SPREAD = 0.01


class RaySamples(NamedTuple):
    """Samples along rays as seen by the source views.

    Attributes:
        weights: Rendering weights.
        outside: Which samples a view does not see (or the encoded image does not).
        colours: Colours of the samples per view.
    """

    weights: Float[Tensor, "*batch k"]
    outside: Bool[Tensor, "*batch k r"]
    colours: Float[Tensor, "*batch k r 3"]


def unseen_share(
    weights: Float[Tensor, "*batch k"], outside: Bool[Tensor, "*batch k r"]
) -> Float[Tensor, "*batch r"]:
    """Weight of a ray on samples that each view does not see."""
    return (weights[..., None] * outside).sum(dim=-2)


def _weight_guided(rays: RaySamples) -> Tensor:
    return (unseen_share(rays.weights, rays.outside) > _UNSEEN_SHARE).all(dim=-1)


def _strict(rays: RaySamples) -> Tensor:
    return rays.outside.any(dim=-2).all(dim=-1)


def _weight_guided_diverse(rays: RaySamples) -> Tensor:
    plain = rays.colours.float().std(dim=-3).mean(dim=-1) < _LEAST_SPREAD
    unseen = unseen_share(rays.weights, rays.outside) > _UNSEEN_SHARE
    return (unseen | plain).all(dim=-1)


def _none(rays: RaySamples) -> Tensor:
    return rays.outside.new_zeros(rays.outside.shape[:-2])


# Published switch `invalid_policy`; every rule answers which rays no source view can judge.
INVALID_POLICIES: dict[str, Callable[[RaySamples], Tensor]] = {
    "weight_guided": _weight_guided,
    "weight_guided_diverse": _weight_guided_diverse,
    "strict": _strict,
    "none": _none,
}


def best_view_error(
    error: Float[Tensor, "*batch r"], invalid: Bool[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Mean over all rays of the smallest error of any view; invalid rays count as zero."""
    return (error.amin(dim=-1) * ~invalid).mean()


def _unit_range(depth: Tensor) -> Tensor:
    low, high = depth.min(), depth.max()
    return (depth - low) / (high - low)


def depth_consistency(
    predicted_m: Float[Tensor, "*batch"], rendered_m: Float[Tensor, "*batch"], version: int = 1
) -> Float[Tensor, ""]:
    """Reconstruction consistency of ViPOcc: predicted against rendered depth.

    Args:
        predicted_m: Depth of the depth branch, metres.
        rendered_m: Depth rendered from the field at the same pixels, metres.
        version: 1 = absolute difference (published); 2 = near pixels weigh more; 3 = both maps
            scaled to 0..1 first.
    """
    if version == 3:
        return (_unit_range(predicted_m) - _unit_range(rendered_m)).abs().mean()
    difference = (predicted_m - rendered_m).abs()
    if version == 2:
        difference = difference * (1 - _unit_range(predicted_m))
    return difference.mean()


def concentration(weights: Float[Tensor, "*rays k"]) -> Float[Tensor, ""]:
    """How far the samples that make up a ray lie apart: variance of their place along the ray.

    The square form of the distortion loss (Barron et al. 2022, mip-NeRF 360, section 4). Places are
    counted in samples, 0..1 over the ray, so that near surfaces have to be the sharper ones.

    Args:
        weights: How much each sample contributes.
    """
    samples = weights.shape[-1]
    place = (torch.arange(samples, device=weights.device) + 0.5) / samples
    mean = (weights * place).sum(dim=-1, keepdim=True)
    return (weights * (place - mean).square()).sum(dim=-1).mean()
