"""Losses of LangOcc's reducer from CLIP's space to a small one."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def angle_loss(
    vectors: Float[Tensor, "n c"], reconstructed: Float[Tensor, "n c"]
) -> Float[Tensor, ""]:
    """Ten times the mean angle between unit vectors, radians (the published loss)."""
    return 10 * (vectors * reconstructed).sum(dim=-1).arccos().mean()


def cosine_separation(
    similarity: Float[Tensor, "n n"], same: Bool[Tensor, "n n"]
) -> Float[Tensor, ""]:
    """Prompts of one class towards similarity 1, of different classes towards 0."""
    return torch.where(same, 1 - similarity, similarity).mean()


def squared_separation(
    similarity: Float[Tensor, "n n"], same: Bool[Tensor, "n n"]
) -> Float[Tensor, ""]:
    """Prompts of one class towards similarity 1, of different classes towards -1."""
    return (similarity - torch.where(same, 1.0, -1.0)).square().mean()


def margin_separation(
    similarity: Float[Tensor, "n n"], same: Bool[Tensor, "n n"], margin: float = 1.1
) -> Float[Tensor, ""]:
    """Like `cosine_separation`, but different classes only until they are `margin` apart."""
    distance = 1 - similarity
    return torch.where(same, distance, (margin - distance).relu()).mean()


def similarities(
    vectors: Float[Tensor, "n c"], classes: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n n"], Bool[Tensor, "n n"]]:
    """Cosines of all pairs of unit vectors, and which pairs are of one class."""
    return vectors @ vectors.T, classes[:, None] == classes
