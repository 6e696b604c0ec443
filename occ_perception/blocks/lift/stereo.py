"""Depth from a rectified pair: group-wise correlation, resampling to depth, 3D hourglasses."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.lift.depth_net import CameraGate


def correlate(
    left: Float[Tensor, "b c h w"], right: Float[Tensor, "b c h w"], groups: int, disparities: int
) -> Float[Tensor, "b g d h w"]:
    """Group-wise correlation (Guo et al. 2019) of a rectified pair.

    Entry i is the mean over a group's channels of left(x) * right(x - i), 0 where x < i.

    Args:
        left: Features of the left view.
        right: Features of the right view.
        groups: Number of channel groups.
        disparities: Disparities 0, 1, ... in feature pixels.
    """
    padded = F.pad(right, (disparities - 1, 0))
    shifted = padded.unfold(3, left.shape[3], 1).movedim(3, 2)  # a view, largest disparity first
    volume = torch.zeros((), dtype=left.dtype, device=left.device)
    for a, b in zip(
        left.unflatten(1, (groups, -1)).unsqueeze(3).unbind(2),
        shifted.unflatten(1, (groups, -1)).unbind(2),
        strict=True,
    ):
        volume = torch.addcmul(volume, a, b)
    return (volume * (groups / left.shape[1])).flip(2)


def disparity_to_depth(calib: Float[Tensor, "b 1"], bins: int) -> Float[Tensor, "b d d"]:
    """Matrix that resamples a volume of `bins` disparities to `bins` depth entries.

    Row k interpolates linearly at disparity (calib / 4) / (k + 1), zero beyond the last one. This
    agrees neither with the depth of bin k nor with the resized image; the published weights were
    learnt around it.

    Args:
        calib: Focal length times baseline, raw-image pixels x metres, float64.
        bins: Number of disparities and of depth entries.
    """
    steps = torch.arange(1, bins + 1, device=calib.device, dtype=torch.float32)
    return _interpolation((calib / 4).float() / steps, bins)


def true_disparity_to_depth(
    calib: Float[Tensor, "b 1"], scale: Float[Tensor, "b 1"], depths_m: Float[Tensor, " d"]
) -> Float[Tensor, "b d d"]:
    """The same with every depth entry at the disparity that a point of this depth has.

    Args:
        calib: Focal length times baseline, raw-image pixels x metres, float64.
        scale: Feature pixels per raw-image pixel.
        depths_m: Depth of every bin.
    """
    disparity = (calib * scale).float() / depths_m.to(calib.device)
    return _interpolation(disparity, len(depths_m))


def _interpolation(disparity: Float[Tensor, "b d"], bins: int) -> Float[Tensor, "b d k"]:
    columns = torch.arange(bins, device=disparity.device, dtype=torch.float32)
    return (1 - (disparity[..., None] - columns).abs()).clamp(min=0)


def resample(
    volume: Float[Tensor, "b g d h w"], matrix: Float[Tensor, "b k d"]
) -> Float[Tensor, "b g k h w"]:
    """The volume with its third axis multiplied by a matrix per sample."""
    return (matrix[:, None] @ volume.flatten(3)).unflatten(3, volume.shape[3:])


def conv_norm_3d(
    in_channels: int, out_channels: int, size: int = 3, stride: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution without bias, group norm, and ReLU unless told otherwise."""
    conv = nn.Conv3d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)
    norm = nn.GroupNorm(2, out_channels)
    return nn.Sequential(conv, norm, nn.ReLU(inplace=True)) if relu else nn.Sequential(conv, norm)


def _upsample_3d(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.ConvTranspose3d(
        in_channels, out_channels, 3, 2, padding=1, output_padding=1, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm3d(out_channels))


class Hourglass3d(nn.Module):
    """Two levels down and up again with skips (PSMNet, Chang & Chen 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv_norm_3d(channels, 2 * channels, stride=2)
        self.conv2 = conv_norm_3d(2 * channels, 2 * channels)
        self.conv3 = conv_norm_3d(2 * channels, 4 * channels, stride=2)
        self.conv4 = conv_norm_3d(4 * channels, 4 * channels)
        self.conv5 = _upsample_3d(4 * channels, 2 * channels)
        self.conv6 = _upsample_3d(2 * channels, channels)
        self.redir1 = conv_norm_3d(channels, channels, size=1, relu=False)
        self.redir2 = conv_norm_3d(2 * channels, 2 * channels, size=1, relu=False)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:
        """Regularised volume; d, h and w are multiples of 4."""
        half = self.conv2(self.conv1(x))
        quarter = self.conv4(self.conv3(half))
        half = F.relu(self.conv5(quarter) + self.redir2(half))
        return F.relu(self.conv6(half) + self.redir1(x))


class StereoFeatures(nn.Module):
    """Matching features of one view, gated by its raw (not normalised) camera vector."""

    def __init__(
        self, in_channels: int, channels: int, out_channels: int, camera_channels: int
    ) -> None:
        super().__init__()
        self.reduce_conv = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.GroupNorm(2, channels),
            nn.ReLU(inplace=True),
        )
        self.gate = CameraGate(camera_channels, channels)
        self.project = nn.Conv2d(channels, out_channels, 1)

    def forward(
        self, features: Float[Tensor, "b c h w"], camera: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b e h w"]:
        """Features to correlate."""
        return self.project(self.gate(self.reduce_conv(features), camera))


class StereoNet(nn.Module):
    """Distribution over depth bins from a rectified pair.

    Args:
        in_channels: Channels of the image features.
        channels: Width of the feature net.
        match_channels: Channels that are correlated.
        groups: Correlation groups = channels of the 3D part.
        camera_channels: Length of the camera vector.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        match_channels: int,
        groups: int,
        camera_channels: int = 30,
    ) -> None:
        super().__init__()
        self.groups = groups
        self.features = StereoFeatures(in_channels, channels, match_channels, camera_channels)
        self.stem = nn.Sequential(conv_norm_3d(groups, groups), conv_norm_3d(groups, groups))
        self.residual = nn.Sequential(
            conv_norm_3d(groups, groups), conv_norm_3d(groups, groups, relu=False)
        )
        self.hourglasses = nn.Sequential(*(Hourglass3d(groups) for _ in range(3)))
        self.refine = conv_norm_3d(groups, groups)
        self.score = nn.Conv3d(groups, 1, 3, padding=1, bias=False)
        self._init_weights()

    def _init_weights(self) -> None:
        """PSMNet's initialisation; transposed convolutions keep torch's."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                fan_out = math.prod(module.kernel_size) * module.out_channels
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(
        self,
        left: Float[Tensor, "b c h w"],
        right: Float[Tensor, "b c h w"],
        camera_left: Float[Tensor, "b k"],
        camera_right: Float[Tensor, "b k"],
        to_depth: Float[Tensor, "b d d"],
    ) -> Float[Tensor, "b d h w"]:
        """Probability of every depth bin in the left view.

        Args:
            left: Features of the left view.
            right: Features of the right view.
            camera_left: Raw camera vector of the left view.
            camera_right: Raw camera vector of the right view.
            to_depth: From `disparity_to_depth`.
        """
        cameras = torch.cat([camera_left, camera_right])
        left, right = self.features(torch.cat([left, right]), cameras).chunk(2)
        volume = resample(correlate(left, right, self.groups, to_depth.shape[2]), to_depth)
        volume = self.stem(volume)
        volume = self.hourglasses(volume + self.residual(volume))
        return self.score(self.refine(volume)).squeeze(1).float().softmax(dim=1)
