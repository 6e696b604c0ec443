"""Configuration of SceneDINO; the defaults are the published KITTI-360 model on DINO."""

from __future__ import annotations

from dataclasses import dataclass

from occ_perception.blocks.fields.config import FieldConfig
from occ_perception.blocks.fields.pixel_field import FieldRange
from occ_perception.core.errors import ConfigError


@dataclass(frozen=True)
class SceneDinoConfig(FieldConfig):
    """Sizes of the networks and of the space they were trained in (paper: arXiv 2507.06230).

    `input_size` fixes the ViT's position table.

    Attributes:
        vit: timm's name of the encoder and of its frozen twin that makes the targets.
        vit_depth: Blocks of the encoder, None = as published.
        vit_patch: Pixels per patch inside the ViT.
        patch: Pixels of the image per feature of the grid. DINOv2's 14 pixels become 16: its image
            is shrunk by 14/16 first.
        blocks: Blocks whose raw outputs reach the decoder beside the final map.
        level_channels: Channels of the decoder's levels, finest first.
        decoder_channels: Channels of the decoder.
        hidden_channels: Width of the field's MLP.
        latent_channels: Channels of the rendered latent.
        expansion_channels: Width of the expansion's hidden layer.
        feature_channels: Channels of the ViT's features.
        classes: Clusters and classes of the semantic head; 0 = the model has none (stage 1).
        code_channels: Channels of the distilled code.
        semantic_mode: Way to the classes, one of `SemanticMode`.
        grows_surfaces: A voxel counts as dense as the densest within one voxel of it, as published:
            a field that pictures taught is dense on thin surfaces that voxel centres miss. One that
            was taught voxels needs no such thickening.
    """

    vit: str = "vit_base_patch8_224.dino"
    vit_depth: int | None = None
    vit_patch: int = 8
    patch: int = 8
    blocks: tuple[int, int, int] = (3, 6, 9)
    level_channels: tuple[int, int, int, int] = (64, 64, 128, 256)
    decoder_channels: int = 256
    hidden_channels: int = 128
    latent_channels: int = 64
    expansion_channels: int = 128
    feature_channels: int = 768
    samples: int = 32
    classes: int = 19
    code_channels: int = 64
    occupied_density: float = 0.2
    semantic_mode: str = "stego_kmeans"
    grows_surfaces: bool = True

    def __post_init__(self) -> None:
        """Refuse image sizes that are not whole patches.

        Raises:
            ConfigError: A side is not a multiple of twice the patch.
        """
        if any(side % (2 * self.patch) for side in self.input_size):
            raise ConfigError(
                f"input_size {self.input_size} must be multiples of {2 * self.patch} pixels"
            )

    @property
    def field_range(self) -> FieldRange:
        """Coding of points; far outside the image the coordinates are bounded."""
        return FieldRange(self.near_m, self.far_m, max_uv=2.0)

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of features."""
        return self.input_size[0] // self.patch, self.input_size[1] // self.patch

    @property
    def vit_size(self) -> tuple[int, int]:
        """Height and width of the ViT's own input, pixels."""
        return self.patch_grid[0] * self.vit_patch, self.patch_grid[1] * self.vit_patch

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the hidden map: the decoder enlarges the grid 16 times."""
        return 16 * self.patch_grid[0], 16 * self.patch_grid[1]

    @classmethod
    def nano(cls) -> SceneDinoConfig:
        """Every module of the published model at a fraction of its width, for a CPU.

        Half the image size: the field is asked at twelve thousand places a frame, but the image
        networks would cost four times as much.
        """
        return cls(
            input_size=(96, 320),
            vit="vit_tiny_patch16_224",
            vit_depth=6,
            blocks=(1, 2, 4),
            level_channels=(16, 16, 32, 64),
            decoder_channels=32,
            hidden_channels=48,
            latent_channels=24,
            expansion_channels=64,
            feature_channels=192,
            samples=24,
            code_channels=32,
            occupied_density=6.4,  # calibrated on training frames
            semantic_mode="direct_kmeans",
            grows_surfaces=False,
        )

    @classmethod
    def dinov2(cls) -> SceneDinoConfig:
        """The published model on DINOv2."""
        return cls(vit="vit_base_patch14_dinov2.lvd142m", vit_patch=14, patch=16)
