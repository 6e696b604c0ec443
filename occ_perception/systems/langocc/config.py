"""Configuration of LangOcc; the defaults are the published model "Full"."""

from __future__ import annotations

from dataclasses import dataclass, replace

from occ_perception.core.errors import ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.systems.roles import SURROUND_CAMERAS


@dataclass(frozen=True)
class LangOccConfig:
    """Sizes of the network and of the space it sees (paper: arXiv 2407.17310).

    Attributes:
        input_size: Height and width of the network's images, pixels; multiples of 32.
        source_width: Width to which wider images are shrunk first, pixels; None = never.
        cameras: Names of the cameras; the first one's pose is the frame of the grid.
        backbone: timm's name of the image backbone, a ResNet.
        backbone_widths: Channels per backbone stage, None = as published.
        backbone_depths: Blocks per backbone stage, None = as published.
        neck_channels: Width of the image features and of the depth net.
        aspp_channels: Width of the depth net's dilated branches.
        context_channels: Channels of the lifted features.
        depth_min_m: Depth of the first bin.
        depth_step_m: Distance of two bins.
        bins: Number of depth bins.
        match_group: Channels of a group in the stereo cost.
        stage_channels: Channels of the 3D encoder's resolutions, finest first.
        stage_blocks: Their residual blocks.
        scene_channels: Channels of a voxel in front of the heads.
        language_channels: Channels of a voxel's vector: CLIP's 512, or those of the subspace.
        clip: Text encoder whose space the voxels live in (see `TextEmbeddings.clip`).
        vocabulary: Words that it answers to until others are set.
        clip_channels: Channels of the text encoder's vectors.
        origin_m: Lower corner of the grid in the vehicle's frame.
        voxel_m: Edge length of a voxel.
        shape: Voxels.
        coarseness: Labelled voxels per voxel that is computed, along x, y and z; 1 as published.
        free_below: Density below which a voxel is free, 1/m.
        frame_id: Name of the grid's frame.
    """

    input_size: tuple[int, int] = (256, 704)
    source_width: int | None = None
    cameras: tuple[str, ...] = SURROUND_CAMERAS
    backbone: str = "resnet50"
    backbone_widths: tuple[int, ...] | None = None
    backbone_depths: tuple[int, ...] | None = None
    neck_channels: int = 256
    aspp_channels: int = 96
    context_channels: int = 32
    depth_min_m: float = 1.0
    depth_step_m: float = 0.5
    bins: int = 88
    match_group: int = 4
    stage_channels: tuple[int, ...] = (32, 64, 128)
    stage_blocks: tuple[int, ...] = (1, 2, 4)
    scene_channels: int = 256
    language_channels: int = 512
    clip: str = "ViT-B-16-quickgelu/openai"
    vocabulary: str = "occ3d_v1"
    clip_channels: int = 512
    origin_m: tuple[float, float, float] = (-40.0, -40.0, -1.0)
    voxel_m: float = 0.4
    shape: tuple[int, int, int] = (200, 200, 16)
    coarseness: tuple[int, int, int] = (1, 1, 1)
    free_below: float = 0.1
    frame_id: str = "base_link"

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be halved as often as the network does.

        Raises:
            ConfigError: A size does not divide.
        """
        if any(side % 32 for side in self.input_size):
            raise ConfigError(f"input_size {self.input_size} must be multiples of 32 pixels")
        if any(n % c for n, c in zip(self.shape, self.coarseness, strict=True)):
            raise ConfigError(f"coarseness {self.coarseness} does not divide shape {self.shape}")
        if any(side % 2 ** (len(self.stage_channels) - 1) for side in self.volume.shape):
            raise ConfigError(
                f"shape {self.volume.shape} cannot be halved between the encoder's stages"
            )

    @property
    def grid(self) -> GridSpec:
        """Grid of the predicted labels."""
        return GridSpec(self.origin_m, (self.voxel_m,) * 3, self.shape, self.frame_id)

    @property
    def volume(self) -> GridSpec:
        """Grid that is computed in; labels are read out of it."""
        size = tuple(self.voxel_m * c for c in self.coarseness)
        shape = tuple(n // c for n, c in zip(self.shape, self.coarseness, strict=True))
        return GridSpec(self.origin_m, size, shape, self.frame_id)

    @property
    def is_reduced(self) -> bool:
        """Whether voxels live in a learnt subspace of CLIP's space."""
        return self.language_channels < self.clip_channels

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the maps that are lifted."""
        return self.input_size[0] // 16, self.input_size[1] // 16

    @property
    def stereo_size(self) -> tuple[int, int]:
        """Height and width of the maps that are matched over time."""
        return self.input_size[0] // 4, self.input_size[1] // 4

    @classmethod
    def reduced(cls) -> LangOccConfig:
        """The published model "Reduced"."""
        return cls(language_channels=128)

    @classmethod
    def nano(cls) -> LangOccConfig:
        """Every module of the published model at a fraction of its width, on smaller images.

        It computes voxels four times as wide and long; the grid of the labels stays. It speaks the
        toy language of the procedural world.
        """
        return replace(
            cls.reduced(),
            input_size=(96, 288),
            source_width=176,  # of the images that its weights were trained on
            backbone="resnet18",
            backbone_widths=(16, 32, 64, 128),
            backbone_depths=(1, 1, 1, 1),
            neck_channels=32,
            aspp_channels=12,
            context_channels=12,
            bins=44,
            depth_step_m=1.0,
            stage_channels=(16, 32),
            stage_blocks=(1, 1),
            scene_channels=24,
            language_channels=32,
            clip="toy text encoder",
            vocabulary="toy_world",
            clip_channels=128,
            coarseness=(4, 4, 1),
            free_below=0.55,  # best on its training scenes
        )
