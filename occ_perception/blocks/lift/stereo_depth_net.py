"""Depth of one view from its features and from how it matches the view before (BEVStereo)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from occ_perception.blocks.lift.depth_net import Aspp, CameraGate


class StereoDepthNet(nn.Module):
    """Depth logits and context features (Li et al. 2022, as in BEVDet's 4D stereo models).

    Args:
        in_channels: Channels of the image features.
        channels: Inner width.
        context_channels: Channels of the context that will be lifted.
        bins: Depth bins, of the answer and of the matching cost.
        aspp_channels: Width of the dilated branches.
        camera_channels: Length of the camera vector.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        context_channels: int,
        bins: int,
        aspp_channels: int,
        camera_channels: int = 27,
    ) -> None:
        super().__init__()
        self.camera_norm = nn.BatchNorm1d(camera_channels)
        self.reduce_conv = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.context_gate = CameraGate(camera_channels, channels)
        self.context_conv = nn.Conv2d(channels, context_channels, 1)
        self.depth_gate = CameraGate(camera_channels, channels)
        self.cost_net = nn.Sequential(  # without activations, as published
            nn.Conv2d(bins, bins, 3, 2, padding=1),
            nn.BatchNorm2d(bins),
            nn.Conv2d(bins, bins, 3, 2, padding=1),
            nn.BatchNorm2d(bins),
        )
        narrow = nn.Conv2d(channels + bins, channels, 1)
        self.depth_conv = nn.Sequential(
            BasicBlock(channels + bins, channels, downsample=narrow),
            BasicBlock(channels, channels),
            BasicBlock(channels, channels),
            Aspp(channels, width=aspp_channels, pool_norm=nn.BatchNorm2d),
            nn.Conv2d(channels, bins, 1),
        )

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        cost: Float[Tensor, "b d hs ws"],
        camera: Float[Tensor, "b k"],
    ) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b e h w"]]:
        """Depth logits and context.

        Args:
            features: Image features.
            cost: Matching distribution over the bins, four times as fine as the features.
            camera: Raw camera vector (pixels, metres), normalised here.
        """
        camera = self.camera_norm(camera)
        x = self.reduce_conv(features)
        context = self.context_conv(self.context_gate(x, camera))
        matched = torch.cat([self.depth_gate(x, camera), self.cost_net(cost)], dim=1)
        return self.depth_conv(matched), context
