"""Configuration of ViPOcc; the defaults are the published KITTI-360 model."""

from __future__ import annotations

from dataclasses import dataclass

from occ_perception.blocks.fields.config import FieldConfig
from occ_perception.core.errors import ConfigError


@dataclass(frozen=True)
class ViPOccConfig(FieldConfig):
    """Sizes of the networks and of the space they were trained in (paper: arXiv 2412.11210).

    Sides of `input_size` are multiples of 32 pixels, at least 64.

    Attributes:
        backbone: timm's name of the density network's encoder.
        backbone_maps: Channels of its five maps, finest first.
        decoder_widths: Channels of the density decoder's levels, finest first.
        feature_channels: Channels of the pixel-aligned features.
        hidden_channels: Width of the field's MLP.
        learn_empty: Points outside the image get a learnt feature (a switch of the official code
            that its depth evaluation leaves on by mistake).
        depth_branch: Correct a pseudo depth with a second network; False is BTS.
        depth_backbone: timm's name of the depth branch's encoder.
        depth_backbone_maps: Channels of its five maps, finest first.
        depth_widths: Channels of the depth decoder's levels, finest first.
        pseudo_depth_min_m: Bounds of the pseudo depth before it is inverted, metres.
        pseudo_depth_max_m: Upper bound, metres.
    """

    backbone: str = "resnet50"
    backbone_maps: tuple[int, ...] = (64, 256, 512, 1024, 2048)
    decoder_widths: tuple[int, ...] = (64, 64, 64, 128, 256)
    feature_channels: int = 64
    hidden_channels: int = 64
    learn_empty: bool = False
    depth_branch: bool = True
    depth_backbone: str = "resnet18"
    depth_backbone_maps: tuple[int, ...] = (64, 64, 128, 256, 512)
    depth_widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    pseudo_depth_min_m: float = 0.1
    pseudo_depth_max_m: float = 80.0

    def __post_init__(self) -> None:
        """Refuse image sizes whose coarsest map cannot be upsampled back or reflected.

        Raises:
            ConfigError: A side is not a multiple of 32, or it is 32.
        """
        if any(side % 32 or side < 64 for side in self.input_size):
            raise ConfigError(
                f"input_size {self.input_size} must be multiples of 32 pixels, 64 or more"
            )

    @classmethod
    def nano(cls) -> ViPOccConfig:
        """Every module of the published model at a fraction of its width, images half as large."""
        return cls(
            input_size=(96, 320),
            backbone="test_resnet",
            backbone_maps=(32, 32, 48, 192, 96),
            decoder_widths=(24, 24, 32, 48, 64),
            feature_channels=48,
            hidden_channels=64,
            samples=48,
            depth_backbone="test_resnet",
            depth_backbone_maps=(32, 32, 48, 192, 96),
            depth_widths=(8, 16, 16, 32, 64),
            picture_stride=2,
            occupied_density=7.6,  # calibrated on training frames
        )

    @classmethod
    def bts(cls) -> ViPOccConfig:
        """The baseline: the density network alone."""
        return cls(depth_branch=False)
