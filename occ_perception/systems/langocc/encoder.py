"""LangOcc's 3D network: residual stages over the lifted volumes, fused at full resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm(
    in_channels: int, out_channels: int, size: int = 3, stride: int = 1, relu: bool = True
) -> nn.Sequential:
    """3D convolution without bias, batch norm, and ReLU unless told otherwise."""
    conv = nn.Conv3d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)
    layers = [conv, nn.BatchNorm3d(out_channels)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, or beside a convolution of its own."""

    def __init__(self, in_channels: int, channels: int, stride: int, first: bool) -> None:
        super().__init__()
        self.conv1 = conv_norm(in_channels, channels, stride=stride)
        self.conv2 = conv_norm(channels, channels, relu=False)
        self.downsample = (
            conv_norm(in_channels, channels, stride=stride, relu=False) if first else None
        )

    def forward(self, x: Float[Tensor, "b _ _ _ _"]) -> Float[Tensor, "b _ _ _ _"]:
        """Volume of the block's width and stride."""
        identity = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + identity)


def residual_stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    """Blocks of one resolution; the first one always has a shortcut convolution."""
    first = ResidualBlock(in_channels, channels, stride, first=True)
    rest = (ResidualBlock(channels, channels, 1, first=False) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


class VolumeEncoder(nn.Module):
    """Stages at full, half and quarter resolution, brought together at full resolution.

    Args:
        in_channels: Channels of the volume that comes in.
        channels: Channels of the stages, finest first.
        blocks: Residual blocks of the stages.
        out_channels: Channels of the result.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        blocks: Sequence[int],
        out_channels: int,
    ) -> None:
        super().__init__()
        inputs = [in_channels, *channels]
        self.stages = nn.ModuleList(
            residual_stage(inputs[i], channels[i], blocks[i], 1 if i == 0 else 2)
            for i in range(len(channels))
        )
        self.fuse = conv_norm(sum(channels), out_channels, size=1)

    def forward(self, volume: Float[Tensor, "b _ x y z"]) -> Float[Tensor, "b _ x y z"]:
        """Fused volume."""
        maps = []
        for stage in self.stages:
            volume = stage(volume)
            maps.append(volume)
        size = maps[0].shape[2:]
        upsampled = (
            F.interpolate(m, size=size, mode="trilinear", align_corners=True) for m in maps[1:]
        )
        return self.fuse(torch.cat([maps[0], *upsampled], dim=1))
