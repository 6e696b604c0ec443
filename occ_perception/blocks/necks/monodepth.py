"""Decoder of Monodepth2 (Godard et al. 2019): nearest upsampling, skips, reflected borders, ELU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="reflect")


class UpStage(nn.Module):
    """Narrows, doubles the resolution, adds the skip by concatenation.

    Args:
        in_channels: Channels of the coarser map.
        skip_channels: Channels of the skip, 0 = none.
        out_channels: Channels of the result.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.narrow = _convolution(in_channels, out_channels)
        self.fuse = _convolution(out_channels + skip_channels, out_channels)

    def forward(
        self, x: Float[Tensor, "b c h w"], skip: Float[Tensor, "b s h2 w2"] | None
    ) -> Float[Tensor, "b o h2 w2"]:
        """The map at twice the resolution, cut to the skip's size."""
        x = F.interpolate(F.elu(self.narrow(x)), scale_factor=2, mode="nearest")
        if skip is not None:
            x = torch.cat([x[..., : skip.shape[-2], : skip.shape[-1]], skip], dim=1)
        return F.elu(self.fuse(x))


class MonodepthDecoder(nn.Module):
    """From backbone maps to one map of the image's resolution.

    Args:
        in_channels: Channels of the backbone's maps, finest (half resolution) first.
        widths: Channels of the decoder's levels, finest (full resolution) first.
        out_channels: Channels of the result.
    """

    def __init__(
        self, in_channels: Sequence[int], widths: Sequence[int], out_channels: int
    ) -> None:
        super().__init__()
        incoming = [*widths[1:], in_channels[-1]]
        skips = [0, *in_channels[:-1]]
        self.stages = nn.ModuleList(
            UpStage(*sizes) for sizes in zip(incoming, skips, widths, strict=True)
        )
        self.output = _convolution(widths[0], out_channels)

    def trunk(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b d h w"]:
        """Everything but the output convolution."""
        x, skips = maps[-1], [None, *maps[:-1]]
        for stage, skip in zip(reversed(self.stages), reversed(skips), strict=True):
            x = stage(x, skip)
        return x

    def forward(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c h w"]:
        """Full-resolution map without activation."""
        return self.output(self.trunk(maps))
