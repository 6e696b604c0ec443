"""Depth Anything V2, metric (Yang et al. 2024): the frozen pseudo depth that ViPOcc corrects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.backbones import VisionTransformer
from occ_perception.blocks.necks.dpt import DptNeck
from occ_perception.blocks.pretrained import check_metric, load_pretrained
from occ_perception.core.checkpoint_rules import KeyRules, RuledCheckpoint
from occ_perception.core.errors import ConfigError

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PATCH = 14


@dataclass(frozen=True)
class DepthPriorConfig:
    """The ViT-L model trained on VKITTI 2 (outdoor, 80 m).

    Attributes:
        image_size: Height and width of the camera images, pixels.
        least_side: Both sides of the network's input are at least this long, pixels.
        vit: timm's name of the transformer.
        table_grid: Rows and columns of the official position table.
        blocks: Blocks whose outputs are used.
        level_channels: Channels of the decoder's levels, finest first.
        channels: Channels of the fused map.
        max_depth_m: Depth of a saturated output.
    """

    image_size: tuple[int, int] = (192, 640)
    least_side: int = 518
    vit: str = "vit_large_patch14_dinov2"
    table_grid: tuple[int, int] = (37, 37)
    blocks: tuple[int, ...] = (4, 11, 17, 23)
    level_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    channels: int = 256
    max_depth_m: float = 80.0

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input: the aspect stays, to whole patches."""
        return whole_patches(self.image_size, self.least_side)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.input_size[0] // _PATCH, self.input_size[1] // _PATCH


def whole_patches(size: tuple[int, int], least_side: int, patch: int = _PATCH) -> tuple[int, int]:
    """Height and width of whole patches with the aspect of `size`, both sides long enough."""
    scale = max(least_side / side for side in size)

    def whole(side: float) -> int:
        nearest = round(side / patch) * patch
        return nearest if nearest >= least_side else math.ceil(side / patch) * patch

    return whole(size[0] * scale), whole(size[1] * scale)


def prepared(image: Float[Tensor, "b 3 h w"], size: tuple[int, int]) -> Float[Tensor, "b 3 h2 w2"]:
    """Network input from RGB 0..1: OpenCV's cubic resize, then ImageNet's normalisation."""
    resized = F.interpolate(image, size=size, mode="bicubic", align_corners=False)
    mean, std = (resized.new_tensor(v)[:, None, None] for v in (_MEAN, _STD))
    return (resized - mean) / std


class DepthPrior(nn.Module):
    """One image to metric depth.

    Args:
        config: Sizes; the position table belongs to `config.image_size`.
    """

    def __init__(self, config: DepthPriorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.vit, config.input_size, config.blocks)
        self.neck = DptNeck(
            self.encoder.channels, config.level_channels, config.channels, match_levels=True
        )
        half = config.channels // 2
        self.output1 = nn.Conv2d(config.channels, half, 3, padding=1)
        self.output2 = nn.Conv2d(half, 32, 3, padding=1)
        self.output3 = nn.Conv2d(32, 1, 1)

    def prepare(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """Network input from RGB 0..1."""
        return prepared(image, self.config.input_size)

    def depth(self, prepared: Float[Tensor, "b 3 h2 w2"]) -> Float[Tensor, "b 1 h2 w2"]:
        """Metric depth at the network's own resolution."""
        x = self.output1(self.neck(self.encoder.normed(prepared)))
        x = F.interpolate(x, size=prepared.shape[-2:], mode="bilinear", align_corners=True)
        x = self.output3(F.relu(self.output2(x)))
        return self.config.max_depth_m * x.sigmoid()

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Metric depth (metres) of RGB images 0..1 of `config.image_size`."""
        depth = self.depth(self.prepare(image))
        return F.interpolate(depth, size=image.shape[-2:], mode="bilinear", align_corners=True)


class PretrainedPrior(nn.Module):
    """Depth Anything V2 as `transformers` has it: one image to metric depth.

    Args:
        network: A `DepthAnythingForDepthEstimation`.
        image_size: Height and width of the camera images, pixels.

    Raises:
        ConfigError: It is another model, or its answers are no metres.
    """

    def __init__(self, network: Any, image_size: tuple[int, int]) -> None:
        super().__init__()
        config = network.config
        if config.model_type != "depth_anything":
            raise ConfigError(
                f"this is a {config.model_type} model; the depth branch was trained with Depth "
                "Anything V2: give its metric outdoor model"
            )
        check_metric(config)
        self.network = network.requires_grad_(False)
        side = config.backbone_config.image_size
        self.input_size = whole_patches(image_size, side, config.patch_size)

    @classmethod
    def of_folder(cls, folder: Path, image_size: tuple[int, int]) -> PretrainedPrior:
        """From config.json and model.safetensors; nothing is downloaded.

        Raises:
            ConfigError: The folder holds no metric Depth Anything V2.
        """
        return cls(load_pretrained("AutoModelForDepthEstimation", str(folder)), image_size)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Metric depth (metres) of RGB images 0..1."""
        depth = self.network(pixel_values=prepared(image, self.input_size)).predicted_depth
        return F.interpolate(
            depth[:, None], size=image.shape[-2:], mode="bilinear", align_corners=True
        )


def scaled_positions(
    table: Float[Tensor, "1 n c"], old_grid: tuple[int, int], new_grid: tuple[int, int]
) -> Float[Tensor, "1 m c"]:
    """Position table as DINOv2 resamples it: by scale factors that are slightly too large.

    The factors themselves enter the sampling, so resizing to the same target size differs.
    """
    if old_grid == new_grid:
        return table
    patches = table[:, 1:].mT.unflatten(2, old_grid).float()
    factors = [(new + 0.1) / old for new, old in zip(new_grid, old_grid, strict=True)]
    resized = F.interpolate(patches, scale_factor=factors, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.flatten(2).mT.to(table.dtype)], dim=1)


_RULES = KeyRules(
    renames=(
        (r"^pretrained\.", "encoder.vit."),
        (r"^depth_head\.projects\.", "neck.projects."),
        (r"^depth_head\.resize_layers\.", "neck.resizes."),
        *((rf"^depth_head\.scratch\.layer{i + 1}_rn\.", f"neck.aligns.{i}.") for i in range(4)),
        *((rf"^depth_head\.scratch\.refinenet{4 - i}\.", f"neck.fusions.{i}.") for i in range(4)),
        (r"\.resConfUnit1\.", ".own."),
        (r"\.resConfUnit2\.", ".refine."),
        (r"\.out_conv\.", ".project."),
        (r"^depth_head\.scratch\.output_conv1\.", "output1."),
        (r"^depth_head\.scratch\.output_conv2\.0\.", "output2."),
        (r"^depth_head\.scratch\.output_conv2\.2\.", "output3."),
    ),
    drops={
        r"^pretrained\.mask_token$": "token of the pre-training task",
        r"\.refinenet4\.resConfUnit1\.": "unit of the coarsest level that nothing reaches",
    },
)


class DepthPriorCheckpoint(RuledCheckpoint):
    """Map of `depth_anything_v2_metric_vkitti_vitl.pth`.

    Args:
        config: Sizes; the official position table is resampled for its image size.
    """

    system = "depth_prior"
    labels = "depth"
    licence = "CC BY-NC 4.0 (weights of the large model), Apache-2.0 (code)"

    rules = _RULES

    def __init__(self, config: DepthPriorConfig | None = None) -> None:
        super().__init__(config or DepthPriorConfig())

    def network(self) -> nn.Module:
        """The teacher."""
        return DepthPrior(self._config)

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """Official tensors are ours, but for the positions of another image size."""
        if key == "pretrained.pos_embed":
            return scaled_positions(tensor, self._config.table_grid, self._config.grid)
        return tensor
