"""Feature pyramid (Lin et al. 2017) without norms and activations."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class FPN(nn.Module):
    """Adds coarse maps to finer ones and smooths the sums.

    Args:
        in_channels: Channels of the maps, finest first.
        out_channels: Channels of every output.
        extra_levels: Further outputs, each half as large, made from the coarsest output.
        outputs: Number of outputs that exist at all, finest first; None = all.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        extra_levels: int = 0,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        strides = ([1] * len(in_channels) + [2] * extra_levels)[:outputs]
        self.lateral_convs = nn.ModuleList(nn.Conv2d(c, out_channels, 1) for c in in_channels)
        self.fpn_convs = nn.ModuleList(
            nn.Conv2d(out_channels, out_channels, 3, stride, padding=1) for stride in strides
        )

    def forward(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]], levels: int | None = None
    ) -> list[Float[Tensor, "b c _ _"]]:
        """The `levels` finest outputs (all if None); unused ones are not computed."""
        sums = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for i in reversed(range(len(sums) - 1)):
            sums[i] = sums[i] + F.interpolate(sums[i + 1], size=sums[i].shape[-2:], mode="nearest")
        outputs: list[Tensor] = []
        for i, conv in enumerate(self.fpn_convs[:levels]):
            outputs.append(conv(sums[i] if i < len(sums) else outputs[-1]))
        return outputs
