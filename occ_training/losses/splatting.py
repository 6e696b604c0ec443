"""Losses of GaussianFlowOcc: rendered pictures against pseudo labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occ_training.losses.sight import sight_loss


@dataclass(frozen=True)
class SplatLossWeights:
    """Weights of the losses; the defaults are the last published setting.

    Attributes:
        semantic: Of the rendered classes.
        depth: Of the rendered depth; 0 = the published training without it.
        sight: Of whether voxels are occupied that lines of sight pass or end in; not published.
        sight_semantic: Of the classes of those in which they end; not published.
    """

    semantic: float = 2.0
    depth: float = 0.05
    sight: float = 0.0
    sight_semantic: float = 0.0


# The setting of the published figures (August 2025); the later default scores lower.
AUGUST_2025 = SplatLossWeights(semantic=1.0, depth=0.1)


def rendered_class_loss(
    logits: Float[Tensor, "*pixels k"], labels: Int[Tensor, "*pixels"]
) -> Float[Tensor, ""]:
    """Mean cross entropy over the labelled pixels.

    Args:
        logits: Rendered class logits, not divided by the accumulated opacity; index k is id k + 1.
        labels: Class ids, 0 = no label.
    """
    target = labels.flatten().long() - 1  # no label becomes -1
    total = F.cross_entropy(logits.flatten(0, -2), target, ignore_index=-1, reduction="sum")
    return total / (target >= 0).sum().clamp(min=1)


def rendered_depth_loss(
    depth_m: Float[Tensor, "*pixels"], target_m: Float[Tensor, "*pixels"]
) -> Float[Tensor, ""]:
    """Mean squared difference over the pixels with a target.

    Args:
        depth_m: Accumulated depth, not divided by the accumulated opacity, metres.
        target_m: Pseudo depth, metres, 0 = none.
    """
    known = target_m > 0
    error = (depth_m - target_m).square() * known
    return error.sum() / known.sum().clamp(min=1)


class VoxelAnswers(NamedTuple):
    """What Gaussians say about voxels on lines of sight, and what these say.

    Attributes:
        density: Sum of the Gaussians, not clamped.
        free: Which voxels are free.
        weights: What they count.
        logits: Summed class logits of those that are not, in the same order.
        labels: Their class ids, 0 = no label.
    """

    density: Float[Tensor, " n"]
    free: Bool[Tensor, " n"]
    weights: Float[Tensor, " n"]
    logits: Float[Tensor, "m k"]
    labels: Int[Tensor, " m"]


def sight_terms(answers: Sequence[VoxelAnswers]) -> dict[str, Float[Tensor, ""]]:
    """Cross-entropies over all voxels: whether they are occupied, and what those are that are."""
    joined = VoxelAnswers(*(torch.cat(part) for part in zip(*answers, strict=True)))
    density, free, weights, logits, labels = joined
    return {
        "sight": sight_loss(density[None], ~free[None], weights[None], 1.0),
        "sight_semantic": rendered_class_loss(logits, labels),
    }
