"""Official checkpoints of GaussianFlowOcc and our network, both ways, strictly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from occ_perception.blocks.backbones import build_backbone
from occ_perception.core.checkpoint_rules import KeyRules, RuledCheckpoint
from occ_perception.core.errors import WeightsError
from occ_perception.core.key_pairs import KeyPairs, PairedCheckpoint
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.model import LEVELS, GaussianFlowOcc

_BLOCK = "gaussian_decoder.blocks.*", "decoder.blocks.*"

NAMES = KeyPairs(
    (
        ("img_backbone.", "backbone."),
        ("img_neck.*.*.conv.", "neck.*.*."),
        ("gaussian_decoder.pos_enc.", "decoder.encode."),
        (f"{_BLOCK[0]}.cross_att.", f"{_BLOCK[1]}.cross_attn."),
        (f"{_BLOCK[0]}.gaussian_rectifier.mean_head.", f"{_BLOCK[1]}.mean_head."),
        ("gaussian_decoder.", "decoder."),
        ("temporal_module.", "flow."),
        ("initial_means", "initial_means"),
        ("gaussian_queries", "gaussian_queries"),
        *((f"{name}_head.",) * 2 for name in ("semantic", "opacity", "scale", "rotation")),
    )
)
_RANGE = "gaussian_decoder.pos_enc.pc_range"


class GaussianFlowOccCheckpoint(PairedCheckpoint):
    """Map of official checkpoints (see `weights.convert.CheckpointMap`).

    Args:
        config: The network that the checkpoint is for; the default is the published one.
    """

    system = "gaussianflowocc"
    labels = "occ3d_nuscenes"
    licence = "AGPL-3.0 (official code); trained on nuScenes (CC BY-NC-SA 4.0)"
    names = NAMES

    def __init__(self, config: GaussianFlowOccConfig | None = None) -> None:
        super().__init__(config or GaussianFlowOccConfig())

    def network(self) -> GaussianFlowOcc:
        """The module that the checkpoint fills."""
        return GaussianFlowOcc(self._config)

    def check(self, official: Mapping[str, Tensor]) -> None:
        """Refuse a checkpoint of another space.

        Raises:
            WeightsError: The stored range is not the configured grid's.
        """
        grid, stored = self._config.grid, official.get(_RANGE)
        ours = torch.tensor([*grid.origin_m, *grid.upper_m])
        if stored is not None and not torch.allclose(stored.float(), ours, atol=1e-4):
            raise WeightsError(
                f"the checkpoint was trained on the range {stored.tolist()} m, configured is "
                f"{ours.tolist()} m; give the configuration it was trained with"
            )


class ResNetCheckpoint(RuledCheckpoint):
    """Map of torchvision's `resnet50-*.pth`, the published start of the image backbone.

    Args:
        config: The network whose backbone it is for; the default is the published one.
    """

    system = "resnet50"
    labels = "imagenet"
    licence = "BSD-3-Clause (torchvision); trained on ImageNet"
    rules = KeyRules(renames=(), drops={r"^fc\.": "ImageNet classifier"})

    def __init__(self, config: GaussianFlowOccConfig | None = None) -> None:
        super().__init__(config or GaussianFlowOccConfig())

    def network(self) -> nn.Module:
        """The image backbone alone."""
        return build_backbone(self._config.backbone, LEVELS)

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, which is the same, or None when it is no ResNet's."""
        return key if key.startswith(("conv1.", "bn1.", "layer")) else None
