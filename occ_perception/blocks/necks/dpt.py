"""Dense prediction from transformer maps (DPT, Ranftl et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 4


class ResidualUnit(nn.Module):
    """Two pre-activated 3x3 convolutions around a shortcut.

    Args:
        channels: Channels of the map.
        batch_norm: Batch norms behind the convolutions, which then have no bias (LSeg).
    """

    def __init__(self, channels: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm)
        self.norm1, self.norm2 = (
            nn.BatchNorm2d(channels) if batch_norm else nn.Identity() for _ in range(2)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The map plus its residual."""
        inner = self.norm1(self.conv1(F.relu(x)))
        return x + self.norm2(self.conv2(F.relu(inner)))


class Fusion(nn.Module):
    """Adds the level's own map to what comes from below, refines and enlarges.

    Args:
        channels: Channels of all maps.
        first: The coarsest level, which nothing comes to from below.
        batch_norm: See `ResidualUnit`.
    """

    def __init__(self, channels: int, first: bool, batch_norm: bool = False) -> None:
        super().__init__()
        self.own = None if first else ResidualUnit(channels, batch_norm)
        self.refine = ResidualUnit(channels, batch_norm)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        own: Float[Tensor, "b c _ _"] | None,
        size: tuple[int, int] | None,
    ) -> Float[Tensor, "b c h2 w2"]:
        """The enlarged map.

        Args:
            x: Map from below (the coarsest level's own map at the first fusion).
            own: The level's own map.
            size: Target size; None = twice as large.
        """
        if own is not None and self.own is not None:
            if own.shape[-2:] != x.shape[-2:]:
                own = F.interpolate(own, size=x.shape[-2:], mode="bilinear", align_corners=False)
            x = x + self.own(own)
        # A 1x1 convolution commutes with interpolation and is cheaper before it.
        x = self.project(self.refine(x))
        target = size or (2 * x.shape[-2], 2 * x.shape[-1])
        return F.interpolate(x, size=target, mode="bilinear", align_corners=True)


class DptNeck(nn.Module):
    """Four maps of one size to one map, eight times as large.

    Args:
        in_channels: Channels of the transformer's maps.
        level_channels: Channels of the four levels after the first projection, finest first.
        channels: Channels of the result.
        match_levels: Enlarge to the next level's size instead of by two; differs where the
            transformer's grid has an odd side.
        batch_norm: See `ResidualUnit`.
    """

    def __init__(
        self,
        in_channels: int,
        level_channels: Sequence[int],
        channels: int,
        match_levels: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.match_levels = match_levels
        self.projects = nn.ModuleList(nn.Conv2d(in_channels, c, 1) for c in level_channels)
        finest, fine, _, coarsest = level_channels
        self.resizes = nn.ModuleList(
            [
                nn.ConvTranspose2d(finest, finest, 4, stride=4),
                nn.ConvTranspose2d(fine, fine, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(coarsest, coarsest, 3, stride=2, padding=1),
            ]
        )
        self.aligns = nn.ModuleList(
            nn.Conv2d(c, channels, 3, padding=1, bias=False) for c in level_channels
        )
        self.fusions = nn.ModuleList(Fusion(channels, i == 0, batch_norm) for i in range(_LEVELS))

    def forward(self, maps: Sequence[Float[Tensor, "b k h w"]]) -> Float[Tensor, "b c h8 w8"]:
        """The fused map; `maps` from the first block to the last."""
        levels = [
            align(resize(project(x)))
            for x, project, resize, align in zip(
                maps, self.projects, self.resizes, self.aligns, strict=True
            )
        ]
        sizes = [tuple(level.shape[-2:]) if self.match_levels else None for level in levels]
        x = self.fusions[0](levels[3], None, sizes[2])
        x = self.fusions[1](x, levels[2], sizes[1])
        x = self.fusions[2](x, levels[1], sizes[0])
        return self.fusions[3](x, levels[0], None)
