"""Training only: what the image branch learns from the vision-language teacher."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class TeacherTargets(NamedTuple):
    """Outputs of the frozen teacher at the size of the feature map.

    Attributes:
        features: `[B, 512, H, W]` vision-language features.
        seg_logits: `[B, 21, H, W]` class logits.
    """

    features: Float[Tensor, "b t h w"]
    seg_logits: Float[Tensor, "b k h w"]


class DistillationOutput(NamedTuple):
    """What the distillation losses compare.

    Attributes:
        fused: `[B, C, H, W]` target of the context features (L1).
        seg_logits: `[B, 21, H, W]` the student's own class logits (cross entropy).
    """

    fused: Float[Tensor, "b c h w"]
    seg_logits: Float[Tensor, "b k h w"]


class GatedFusion(nn.Module):
    """Sum of two maps, each scaled per channel by a gate from its own mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.adapter_sem = nn.Conv2d(channels, channels, 1)
        self.adapter_img = nn.Conv2d(channels, channels, 1)
        self.attention_sem = self._gate(channels)
        self.attention_img = self._gate(channels)

    @staticmethod
    def _gate(channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid()
        )

    def forward(
        self, image: Float[Tensor, "b c h w"], semantic: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c h w"]:
        """Both maps in one."""
        image, semantic = self.adapter_img(image), self.adapter_sem(semantic)
        return semantic * self.attention_sem(semantic) + image * self.attention_img(image)


class Distillation(nn.Module):
    """Pixel labels from the context, and the context enriched by the teacher.

    Args:
        channels: Channels of the context features.
        teacher_channels: Channels of the teacher's features.
        teacher_classes: Number of the teacher's classes.
    """

    def __init__(self, channels: int, teacher_channels: int, teacher_classes: int) -> None:
        super().__init__()
        self.teacher_fusion = nn.Sequential(
            nn.Conv2d(channels + teacher_channels + teacher_classes, 2 * channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * channels, channels, 1),
        )
        self.gated_fusion = GatedFusion(channels)
        self.seg_head = nn.Sequential(
            BasicBlock(channels, channels),
            BasicBlock(channels, channels),
            nn.Conv2d(channels, teacher_classes, 1),
        )

    def forward(
        self, context: Float[Tensor, "b c h w"], teacher: TeacherTargets
    ) -> DistillationOutput:
        """Outputs for the two distillation losses; nothing of it reaches the voxels."""
        parts = [context, teacher.features, teacher.seg_logits.softmax(dim=1)]
        semantic = self.teacher_fusion(torch.cat(parts, dim=1))
        return DistillationOutput(self.gated_fusion(context, semantic), self.seg_head(context))
