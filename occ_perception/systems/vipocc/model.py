"""ViPOcc's networks: a density field from one image, and a depth branch beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occ_perception.blocks.backbones import build_backbone
from occ_perception.blocks.fields.pixel_field import EncodedView, PixelField, VisiblePoints
from occ_perception.blocks.necks.monodepth import MonodepthDecoder
from occ_perception.geometry.rays import Rays
from occ_perception.rendering.volume import RenderedRays, render
from occ_perception.systems.vipocc.config import ViPOccConfig

# Monodepth2's normalisation of images 0..1; not ImageNet's.
_MEAN, _STD = 0.45, 0.225
_LEVELS = (0, 1, 2, 3, 4)
# Scale of the residual inverse depth and guard of its inversion (official utils/modules.py).
_RESIDUAL_SCALE, _INVERSE_EPS = 10.0, 1e-8


def normalise(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Image -1..1 as both encoders want it."""
    return (image * 0.5 + 0.5 - _MEAN) / _STD


class Pyramid(nn.Module):
    """Encoder and decoder: image to one full-resolution map.

    Args:
        backbone: timm's name.
        backbone_maps: Channels of the backbone's maps.
        widths: Channels of the decoder's levels.
        out_channels: Channels of the result.
    """

    def __init__(
        self, backbone: str, backbone_maps: Sequence[int], widths: Sequence[int], out_channels: int
    ) -> None:
        super().__init__()
        self.encoder = build_backbone(backbone, _LEVELS)
        self.decoder = MonodepthDecoder(backbone_maps, widths, out_channels)

    def trunk(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d h w"]:
        """Input of the decoder's output convolution."""
        return self.decoder.trunk(self.encoder(normalise(image)))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """The map without activation; image -1..1."""
        return self.decoder.output(self.trunk(image))


class DensityNet(nn.Module):
    """One image to a density at any point (BTS).

    Args:
        config: Sizes.
    """

    def __init__(self, config: ViPOccConfig) -> None:
        super().__init__()
        self.config = config
        self.features = Pyramid(
            config.backbone, config.backbone_maps, config.decoder_widths, config.feature_channels
        )
        self.field = PixelField(
            config.feature_channels,
            config.hidden_channels,
            0,
            config.field_range,
            config.learn_empty,
        )

    def encode(
        self, image: Float[Tensor, "b 3 h w"], flip: bool = False
    ) -> Float[Tensor, "b c h w"]:
        """Hidden map of images -1..1; `flip` mirrors what the networks see (augmentation)."""
        return self.field.encode(self.features.trunk, self.features.decoder.output, image, flip)

    def visible_density(
        self, hidden: Float[Tensor, "1 c h w"], visible: VisiblePoints
    ) -> Float[Tensor, " m"]:
        """Density of a fixed set of points, evaluated inside the image only; NaN elsewhere."""
        activations = self.field.activations(hidden, visible.points)[0]
        return visible.scatter(self.field.density(activations), float("nan"))

    def render(self, view: EncodedView, rays: Rays, jitter: Float[Tensor, "b r k"]) -> RenderedRays:
        """Render rays through the field of an encoded view.

        Args:
            view: `encode`'s result with its camera.
            rays: Rays `[B, R, 3]` in the world frame.
            jitter: Place of the samples within their intervals, 0..1.
        """
        bounds = (self.config.near_m, self.config.far_m)
        return render(partial(self.field.at, view), rays, jitter, bounds)


class DepthBranch(nn.Module):
    """Residual inverse depth on top of a pseudo depth (ViPOcc section 3.2).

    Args:
        config: Sizes.
    """

    def __init__(self, config: ViPOccConfig) -> None:
        super().__init__()
        self.bounds_m = (config.pseudo_depth_min_m, config.pseudo_depth_max_m)
        self.residual = Pyramid(
            config.depth_backbone, config.depth_backbone_maps, config.depth_widths, 1
        )

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        pseudo_depth_m: Float[Tensor, "b 1 h w"],
        near_only: bool = False,
    ) -> Float[Tensor, "b 1 h w"]:
        """Metric depth; not clamped, so it can be negative where the residual overshoots.

        Args:
            image: RGB -1..1.
            pseudo_depth_m: Depth of the foundation model, metres.
            near_only: Weaken the residual with distance, as the published demo pictures do.
        """
        pseudo = pseudo_depth_m.clamp(*self.bounds_m)
        residual = self.residual(image) / _RESIDUAL_SCALE
        if near_only:
            residual = residual * (1 - pseudo / self.bounds_m[1])
        return 1 / (1 / pseudo + residual + _INVERSE_EPS)


class ViPOcc(nn.Module):
    """Both networks of the paper.

    Args:
        config: Sizes; without `depth_branch` this is BTS.
    """

    def __init__(self, config: ViPOccConfig) -> None:
        super().__init__()
        self.config = config
        self.density_net = DensityNet(config)
        self.depth_net = DepthBranch(config) if config.depth_branch else None

    def forward(
        self, image: Float[Tensor, "1 3 h w"], visible: VisiblePoints
    ) -> Float[Tensor, " m"]:
        """Density of a fixed set of points from one image; NaN where the camera sees nothing."""
        return self.density_net.visible_density(self.density_net.encode(image), visible)


def occupied_cells(
    density: Float[Tensor, "*batch x y z"], threshold: float
) -> Float[Tensor, "*batch x1 y1 z1"]:
    """Cells between grid points whose eight corners are occupied on average (published demo)."""
    flat = density.reshape(-1, 1, *density.shape[-3:])
    pooled = nn.functional.avg_pool3d(flat, kernel_size=2, stride=1)
    return (pooled > threshold).to(torch.float32).view(*density.shape[:-3], *pooled.shape[-3:])
