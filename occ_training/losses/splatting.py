"""Losses of GaussianFlowOcc: rendered pictures against pseudo labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class SplatLossWeights:
    """Weights of the two losses; the defaults are the last published setting.

    Attributes:
        semantic: Of the classes.
        depth: Of the depth; 0 = the published training without it.
    """

    semantic: float = 2.0
    depth: float = 0.05


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
