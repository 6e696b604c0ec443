"""SceneDINO's networks: one image to a field of density and DINO-like features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.backbones import VisionTransformer
from occ_perception.blocks.fields.pixel_field import EncodedView, PixelField, VisiblePoints
from occ_perception.blocks.necks.dpt import DptNeck
from occ_perception.geometry.rays import Rays
from occ_perception.geometry.resize import resize_antialiased
from occ_perception.rendering.volume import RenderedRays, render
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.semantic_head import SemanticHead, SemanticMode
from occ_perception.voxels.density import grow

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageEncoder(nn.Module):
    """ViT on images -1..1.

    Args:
        config: Sizes.
        blocks: Blocks whose raw outputs come before the final map.
    """

    def __init__(self, config: SceneDinoConfig, blocks: Sequence[int]) -> None:
        super().__init__()
        self.size = config.vit_size
        self.transformer = VisionTransformer(
            config.vit, config.vit_size, blocks, config.vit_depth, config.vit_patch
        )

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c _ _"]]:
        """Raw maps of the chosen blocks, then the final one: normed and of unit length."""
        mean, std = (image.new_tensor(v)[:, None, None] for v in (_MEAN, _STD))
        x = (image * 0.5 + 0.5 - mean) / std
        if tuple(x.shape[-2:]) != self.size:
            x = resize_antialiased(x, self.size)
        maps, final = self.transformer.raw_and_final(x)
        return [*maps, F.normalize(final, dim=1)]


class FeatureDecoder(nn.Module):
    """DPT decoder; its map is 16 times as large as the ViT's grid.

    Args:
        config: Sizes.
    """

    def __init__(self, config: SceneDinoConfig) -> None:
        super().__init__()
        c = config.decoder_channels
        self.neck = DptNeck(config.feature_channels, config.level_channels, c)
        self.project = nn.Conv2d(c, c, 3, padding=1)
        self.smooth = nn.Conv2d(c, c, 3, padding=1)
        self.enlarge = nn.ConvTranspose2d(c, c, 2, stride=2)
        self.output = nn.Conv2d(c, c, 3, padding=1)

    def trunk(self, maps: Sequence[Float[Tensor, "b k _ _"]]) -> Float[Tensor, "b c h w"]:
        """Everything but the output convolution."""
        return self.enlarge(self.smooth(self.project(self.neck(maps))))

    def forward(self, maps: Sequence[Float[Tensor, "b k _ _"]]) -> Float[Tensor, "b c h w"]:
        """The embedding map."""
        return self.output(self.trunk(maps))


class Expansion(nn.Module):
    """Latents back to unit features of the ViT's width.

    Args:
        config: Sizes.
    """

    def __init__(self, config: SceneDinoConfig) -> None:
        super().__init__()
        self.linear_in = nn.Linear(config.latent_channels, config.expansion_channels)
        self.linear_out = nn.Linear(config.expansion_channels, config.feature_channels)

    def forward(self, latent: Float[Tensor, "*batch l"]) -> Float[Tensor, "*batch c"]:
        """Unit features."""
        return F.normalize(self.linear_out(F.relu(self.linear_in(latent))), dim=-1)


class FieldVoxels(NamedTuple):
    """A grid of voxels, answered.

    Attributes:
        density: At the voxel centres, 1/m; NaN where the camera sees nothing.
        classes: Class ids where the (grown) density reaches the threshold, -1 elsewhere.
    """

    density: Float[Tensor, "x y z"]
    classes: Int[Tensor, "x y z"]


class SceneDino(nn.Module):
    """The network of figure 2 of the paper.

    Args:
        config: Sizes; with `classes` 0 the semantic head is left out (stage 1).
    """

    def __init__(self, config: SceneDinoConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config, config.blocks)
        self.decoder = FeatureDecoder(config)
        self.field = PixelField(
            config.decoder_channels,
            config.hidden_channels,
            config.latent_channels,
            config.field_range,
        )
        self.expansion = Expansion(config)
        self.semantics = (
            SemanticHead(config.feature_channels, config.code_channels, config.classes)
            if config.classes
            else None
        )

    def encode(
        self, image: Float[Tensor, "b 3 h w"], flip: bool = False
    ) -> Float[Tensor, "b c h2 w2"]:
        """Hidden map of images -1..1; `flip` mirrors what the networks see (augmentation)."""

        def trunk(x: Tensor) -> Tensor:
            return self.decoder.trunk(self.encoder(x))

        return self.field.encode(trunk, self.decoder.output, image, flip)

    def render(
        self,
        view: EncodedView,
        rays: Rays,
        jitter: Float[Tensor, "b r k"],
        opaque_end: bool = True,
    ) -> RenderedRays:
        """Render rays through the field of an encoded view; `latent` expands to features.

        Args:
            view: `encode`'s result with its camera.
            rays: Rays `[B, R, 3]` in the world frame.
            jitter: Place of the samples within their intervals, 0..1.
            opaque_end: The last sample takes all light that is left (training and 2D evaluation).
        """
        bounds = (self.config.near_m, self.config.far_m)
        return render(partial(self.field.at, view), rays, jitter, bounds, opaque_end)

    def thick(self, density: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
        """What decides whether a voxel is occupied: the density, grown if that is configured."""
        return grow(density) if self.config.grows_surfaces else density

    def forward(
        self,
        image: Float[Tensor, "1 3 h w"],
        visible: VisiblePoints,
        shape: tuple[int, int, int],
        mode: SemanticMode = SemanticMode.STEGO_KMEANS,
    ) -> FieldVoxels:
        """Density and classes of a grid from one image.

        Args:
            image: RGB -1..1.
            visible: The voxel centres that the camera sees.
            shape: Shape of the grid.
            mode: Way to the classes.
        """
        hidden = self.field.activations(self.encode(image), visible.points)[0]
        density = visible.scatter(self.field.density(hidden), float("nan")).view(shape)
        occupied = self.thick(density.nan_to_num()) >= self.config.occupied_density
        # Features and classes of empty space would be most of the work, and nobody asks for them.
        here = occupied.flatten()[visible.index].nonzero()[:, 0]
        classes = hidden.new_full(hidden.shape[:1], -1, dtype=torch.int64)
        if self.semantics is not None:
            features = self.expansion(self.field.latent(hidden[here]))
            classes[here] = self.semantics.classes(features, mode)
        return FieldVoxels(density, visible.scatter(classes, -1).view(shape))
