"""Camera-aware monocular depth (BEVDepth, Li et al. 2022): features and camera to depth bins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock
from torchvision.ops import DeformConv2d


class CameraGate(nn.Module):
    """Channel gate computed from the camera instead of the image (BEVDepth section 3.2)."""

    def __init__(self, camera_channels: int, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(camera_channels, channels)
        self.fc2 = nn.Linear(channels, channels)
        self.conv_reduce = nn.Conv2d(channels, channels, 1)
        self.conv_expand = nn.Conv2d(channels, channels, 1)

    def forward(
        self, features: Float[Tensor, "b c h w"], camera: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b c h w"]:
        """Features scaled per channel."""
        embedding = self.fc2(F.relu(self.fc1(camera)))[..., None, None]
        return features * self.conv_expand(F.relu(self.conv_reduce(embedding))).sigmoid()


def _two_groups(channels: int) -> nn.Module:
    """A batch norm over one value per sample cannot train on one image; groups can."""
    return nn.GroupNorm(2, channels)


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: dilated branches beside the global mean.

    Args:
        channels: Width of input and output.
        dilations: One branch each.
        width: Channels of a branch, `channels` if None.
        pool_norm: Makes the norm behind the global mean from its channels.
    """

    def __init__(
        self,
        channels: int,
        dilations: Sequence[int] = (1, 6, 12, 18),
        width: int | None = None,
        pool_norm: Callable[[int], nn.Module] = _two_groups,
    ) -> None:
        super().__init__()
        width = width or channels
        self.branches = nn.ModuleList(self._branch(channels, width, d) for d in dilations)
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, width, 1, bias=False),
            pool_norm(width),
            nn.ReLU(inplace=True),
        )
        self.project = nn.Sequential(
            nn.Conv2d(width * (len(dilations) + 1), channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _branch(channels: int, width: int, dilation: int) -> nn.Sequential:
        size, padding = (1, 0) if dilation == 1 else (3, dilation)
        conv = nn.Conv2d(channels, width, size, 1, padding, dilation, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The branches, concatenated and projected back."""
        context = self.pool(x).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), context], dim=1))


class SelfOffsetConv2d(DeformConv2d):
    """Deformable 3x3 convolution (v1, no mask) that predicts its own sampling offsets."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.conv_offset = nn.Conv2d(channels, 2 * 9, 3, padding=1)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:  # type: ignore[override]
        """Convolution at the predicted offsets; outside the map is zero."""
        offset = self.conv_offset(x)
        with torch.autocast(x.device.type, enabled=False):  # there is no bfloat16 kernel
            dtype = self.weight.dtype
            return super().forward(x.to(dtype), offset.to(dtype))


class DepthNet(nn.Module):
    """Depth logits and context features of one view.

    Args:
        in_channels: Channels of the image features.
        channels: Inner width.
        context_channels: Channels of the context that will be lifted.
        bins: Depth bins.
        camera_channels: Length of the camera vector.
        offset_groups: Weight groups of the deformable convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        context_channels: int,
        bins: int,
        camera_channels: int = 30,
        offset_groups: int = 4,
    ) -> None:
        super().__init__()
        self.camera_norm = nn.GroupNorm(2, camera_channels)
        self.reduce_conv = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.GroupNorm(2, channels),
            nn.ReLU(inplace=True),
        )
        self.context_gate = CameraGate(camera_channels, channels)
        self.context_conv = nn.Conv2d(channels, context_channels, 1)
        self.depth_gate = CameraGate(camera_channels, channels)
        self.depth_conv = nn.Sequential(
            *(BasicBlock(channels, channels) for _ in range(3)),
            Aspp(channels),
            SelfOffsetConv2d(channels, offset_groups),
            nn.Conv2d(channels, bins, 1),
        )

    def forward(
        self, features: Float[Tensor, "b c h w"], camera: Float[Tensor, "b k"]
    ) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b e h w"]]:
        """Depth logits and context.

        Args:
            features: Image features.
            camera: Raw camera vector (pixels, metres), normalised here.
        """
        camera = self.camera_norm(camera)
        x = self.reduce_conv(features)
        context = self.context_conv(self.context_gate(x, camera))
        return self.depth_conv(self.depth_gate(x, camera)), context
