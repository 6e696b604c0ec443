"""Losses of LangOcc: rendered vision-language vectors against those of a teacher."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def cosine_guided_mse(
    rendered: Float[Tensor, "*rays c"],
    target: Float[Tensor, "*rays c"],
    ray_weights: Float[Tensor, "*rays 1"],
    *,
    through_cosine: bool = False,
) -> Float[Tensor, ""]:
    """Squared distance of every ray, weighted by how wrong its direction is (the published loss).

    Args:
        rendered: Unit vectors.
        target: The teacher's vectors; nearly unit.
        ray_weights: 0 for rays that hit nothing; they still count in the mean.
        through_cosine: Let the gradient pass through the weight as well.
    """
    wrongness = 2 * (1 - F.cosine_similarity(rendered, target, dim=-1))
    wrongness = wrongness if through_cosine else wrongness.detach()
    distance = (rendered - target).square().sum(dim=-1)
    return (wrongness * ray_weights[..., 0] * distance).mean()


def cosine_loss(
    rendered: Float[Tensor, "*rays c"],
    target: Float[Tensor, "*rays c"],
    ray_weights: Float[Tensor, "*rays 1"],
) -> Float[Tensor, ""]:
    """Mean of 1 - cosine over the rays."""
    similarity = F.cosine_similarity(rendered, target, dim=-1)
    return (ray_weights[..., 0] * (1 - similarity)).mean()


def squared_loss(
    rendered: Float[Tensor, "*rays c"],
    target: Float[Tensor, "*rays c"],
    ray_weights: Float[Tensor, "*rays 1"],
) -> Float[Tensor, ""]:
    """Mean squared distance over the rays."""
    return (ray_weights[..., 0] * (rendered - target).square().sum(dim=-1)).mean()


def total_variation(
    density: Float[Tensor, "b z y x 1"],
    features: Float[Tensor, "b z y x c"],
    weight: float = 0.01,
    density_weight: float = 5.0,
    feature_weight: float = 0.2,
) -> Float[Tensor, ""]:
    """Squared differences of neighbouring voxels (not active in the published trainings)."""
    parts = density_weight * _variation(density) + feature_weight * _variation(features)
    return weight * parts


def _variation(volume: Float[Tensor, "b z y x c"]) -> Float[Tensor, ""]:
    steps = [volume.diff(dim=axis).square().sum() for axis in (1, 2, 3)]
    return sum(steps, start=volume.new_zeros(())) / volume.numel()


def sparsity(density: Float[Tensor, "*voxels"], weight: float = 0.1) -> Float[Tensor, ""]:
    """Mean density (not active in the published trainings)."""
    return weight * density.abs().mean()
