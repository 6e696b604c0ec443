"""Rendered features against a frozen ViT's, and how smooth they may be (SceneDINO section 3.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from occ_training.losses.photometric import edge_aware_smoothness, relative_inverse

# How fast an edge of the picture forgives a step of depth, and of features.
_DEPTH_TEMPERATURE, _FEATURE_TEMPERATURE = 1.0, 25.0


def feature_loss(
    rendered: Float[Tensor, "*places c"],
    artifacts: Float[Tensor, "*places c"],
    target: Float[Tensor, "*places c"],
) -> Float[Tensor, ""]:
    """One minus the cosine of rendered + artefact and target, over places that have one.

    Args:
        rendered: Unit features pooled over patches.
        artifacts: What the ViT adds at these places of its grid.
        target: Features of the ViT, NaN where there is none.
    """
    given = target.isfinite().all(dim=-1)
    # Filled before the cosine: a NaN that is masked behind it would still reach the gradient.
    filled = target.where(given[..., None], torch.ones_like(target))
    cosine = torch.cosine_similarity(rendered + artifacts, filled, dim=-1)
    return (1 - cosine).where(given, 0.0).sum() / given.sum().clamp(min=1)


def distance_smoothness(
    distance_m: Float[Tensor, "b p h w"],
    picture: Float[Tensor, "b p h w 3"],
    as_published: bool = False,
) -> Float[Tensor, ""]:
    """Edge-aware smoothness of the relative inverse distance of patches.

    Args:
        distance_m: Rendered distance, metres.
        picture: Target colours 0..1.
        as_published: Pair distance and picture as the official code does, which flattens one by
            samples first and the other by patches first; the same for a batch of one.
    """
    signal = relative_inverse(distance_m)
    if as_published:
        signal = signal.transpose(0, 1)
    guide = picture.flatten(0, 1).permute(0, 3, 1, 2)
    flat = signal.flatten(0, 1)[:, None]
    return edge_aware_smoothness(flat, guide, _DEPTH_TEMPERATURE).mean()


def feature_smoothness(
    features: Float[Tensor, "b p h w c"], picture: Float[Tensor, "b p h w 3"]
) -> Float[Tensor, ""]:
    """Edge-aware smoothness of rendered features."""
    signal, guide = (x.flatten(0, 1).permute(0, 3, 1, 2) for x in (features, picture))
    return edge_aware_smoothness(signal, guide, _FEATURE_TEMPERATURE).mean()
