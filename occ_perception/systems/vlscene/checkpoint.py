"""Official VLScene checkpoints: which entry becomes which of our tensors, and what is left out."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from occ_perception.core.checkpoint_rules import KeyRules, RuledCheckpoint
from occ_perception.core.errors import WeightsError
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.key_map_image import IMAGE_RULES
from occ_perception.systems.vlscene.key_map_volume import VOLUME_RULES
from occ_perception.systems.vlscene.model import VLScene

_RULES = KeyRules(
    renames=(*VOLUME_RULES, *IMAGE_RULES),
    drops={
        r"^clip_net\.": "teacher, needed for training only",
        r"^img_view_transformer\.(dx|bx|nx|frustum)$": "constant, follows from the grid",
    },
)


class VLSceneCheckpoint(RuledCheckpoint):
    """Map of official VLScene checkpoints.

    Args:
        config: The network that the checkpoint is for; the default is the published one.
    """

    system = "vlscene"
    labels = "semantickitti"
    licence = "GPL-3.0 (official code); trained on SemanticKITTI, CC BY-NC-SA 4.0"
    rules = _RULES

    def __init__(self, config: VLSceneConfig | None = None) -> None:
        super().__init__(config or VLSceneConfig())

    def network(self) -> nn.Module:
        """The whole network, the teacher's fusion included."""
        return VLScene(self._config)

    def grid(self) -> Mapping[str, Any]:
        """Grid of the predicted voxels, as plain values."""
        return asdict(self._config.grid)

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        renamed = rename_official(key)
        return renamed if renamed in self.wanted() else None

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """An official entry in our layout."""
        return relayout_official(key, tensor)

    def check(self, official: Mapping[str, Tensor]) -> None:
        """Refuse a checkpoint of another grid.

        Raises:
            WeightsError: The grid stored in the checkpoint is not the configured one.
        """
        grid = self._config.lift_grid
        first = [o + s / 2 for o, s in zip(grid.origin_m, grid.voxel_size_m, strict=True)]
        for leaf, ours in (("dx", grid.voxel_size_m), ("bx", first), ("nx", grid.shape)):
            theirs = official.get(f"img_view_transformer.{leaf}")
            expected = torch.tensor(ours, dtype=torch.float32)
            if theirs is not None and not torch.allclose(theirs.float(), expected, atol=1e-4):
                raise WeightsError(
                    f"the checkpoint was trained on another grid ({leaf} = {theirs.tolist()}, "
                    f"configured {list(ours)}); give the configuration it was trained with"
                )

    @functools.lru_cache(maxsize=1)  # noqa: B019  (lives as long as the map)
    def wanted(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of our network."""
        return super().wanted()


class BackboneCheckpoint(RuledCheckpoint):
    """Map of `repvit_m2_3_distill_300e.pth`, the published start of the image backbone.

    Args:
        config: The network whose backbone it is for.
    """

    system = "repvit_m2_3"
    labels = "imagenet"
    licence = "Apache-2.0 (code of RepViT); trained on ImageNet"
    rules = KeyRules(renames=(), drops={r"^classifier\.": "ImageNet classifier"})

    def __init__(self, config: VLSceneConfig | None = None) -> None:
        super().__init__(config or VLSceneConfig())

    def network(self) -> nn.Module:
        """The image backbone alone."""
        return VLScene(self._config).backbone

    def rename(self, key: str) -> str | None:
        """Our name of an official entry: as in the whole network's checkpoint, one level up."""
        renamed = rename_official(f"img_backbone.{key}")
        is_known = renamed.startswith("backbone.")
        return renamed.removeprefix("backbone.") if is_known else None


def rename_official(key: str) -> str:
    """Apply all renaming rules to one official name; what none of them touches stays."""
    return _RULES.rename(key) or key


def relayout_official(key: str, tensor: Tensor) -> Tensor:
    """Sparse kernels `[out, kx, ky, kz, in]` become `[out, in, kx, ky, kz]`; the rest stays."""
    is_sparse = key.startswith("sparse_unet.") and not key.startswith("sparse_unet.pre_conv.")
    return tensor.permute(0, 4, 1, 2, 3) if is_sparse and tensor.ndim == 5 else tensor
