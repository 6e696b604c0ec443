"""Published DINO and DINOv2 ViTs -> the encoder that stage 1 starts from, and its frozen twin."""

from __future__ import annotations

import math

from torch import Tensor, nn

from occ_perception.blocks.backbones import resample_positions
from occ_perception.core.checkpoint_rules import KeyRules, RuledCheckpoint
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.model import ImageEncoder

_PARTS = ("cls_token", "pos_embed", "patch_embed.proj.", "blocks.", "norm.")


class DinoCheckpoint(RuledCheckpoint):
    """Map of `dino_vitbase8_pretrain.pth`; the position table is resampled for the image size.

    Args:
        config: The network whose encoder it is for.
    """

    system = "dino"
    labels = "imagenet"
    licence = "Apache-2.0 (DINO, Meta); trained on ImageNet without labels"
    rules = KeyRules(renames=(), drops={r"^mask_token$": "token of DINOv2's own training"})

    def __init__(self, config: SceneDinoConfig | None = None) -> None:
        super().__init__(config or SceneDinoConfig())

    def network(self) -> nn.Module:
        """The encoder alone."""
        return ImageEncoder(self._config, self._config.blocks)

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, which is timm's below the encoder."""
        return f"transformer.vit.{key}" if key.startswith(_PARTS) else None

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """Positions on the square grid of the pretraining become those of our images."""
        if key != "pos_embed":
            return tensor
        side = math.isqrt(tensor.shape[1] - 1)
        return resample_positions(tensor, (side, side), self._config.patch_grid)


class DinoV2Checkpoint(DinoCheckpoint):
    """Map of `dinov2_vitb14_pretrain.pth`."""

    system = "dinov2"
    licence = "Apache-2.0 (DINOv2, Meta); trained on LVD-142M without labels"

    def __init__(self, config: SceneDinoConfig | None = None) -> None:
        super().__init__(config or SceneDinoConfig.dinov2())
