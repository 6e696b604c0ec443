"""Losses on the image branch: depth from LiDAR, features and labels from a teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def depth_bin_loss(
    depth_prob: Float[Tensor, "b d h w"], target_bin: Int[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """Binary cross entropy of all bins, summed per cell, averaged over the cells with a target.

    Args:
        depth_prob: Probability per depth bin.
        target_bin: Bin that holds the LiDAR depth; anything from D upwards = no target.
    """
    bins = depth_prob.shape[1]
    known = target_bin < bins
    given = depth_prob.movedim(1, -1)[known].float()
    wanted = F.one_hot(target_bin[known], bins).float()
    # Autocast refuses binary cross entropy on probabilities, for good reason: float32 it is.
    with torch.autocast(given.device.type, enabled=False):
        total = F.binary_cross_entropy(given, wanted, reduction="sum")
    return total / max(int(known.sum()), 1)


def feature_loss(
    student: Float[Tensor, "b c h w"], fused: Float[Tensor, "b c h w"]
) -> Float[Tensor, ""]:
    """Mean absolute difference; both sides are trained, as published."""
    return F.l1_loss(student, fused)


def pixel_label_loss(
    student_logits: Float[Tensor, "b k h w"], teacher_logits: Float[Tensor, "b k h w"]
) -> Float[Tensor, ""]:
    """Mean cross entropy against the teacher's most likely classes."""
    return F.cross_entropy(student_logits, teacher_logits.argmax(dim=1))
