"""Image backbones: thin builders over timm, without downloaded weights."""

from __future__ import annotations

from collections.abc import Sequence

import timm
from torch import nn

from occ_perception.core.errors import ConfigError


def build_backbone(
    name: str,
    levels: Sequence[int],
    widths: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
) -> nn.Module:
    """A randomly initialised timm feature extractor: images `[B, 3, H, W]` to a list of maps.

    Args:
        name: timm's model name, e.g. "repvit_m2_3".
        levels: Indices of the stages whose maps come out, finest first.
        widths: Channels per stage instead of the published ones (convolutional models only).
        depths: Blocks per stage instead of the published ones.

    Raises:
        ConfigError: timm knows no such model, or it cannot be built with these widths.
    """
    options = {"embed_dim": widths, "depth": depths}
    changed = {key: tuple(value) for key, value in options.items() if value is not None}
    if not timm.is_model(name):
        raise ConfigError(f"backbone '{name}' is not a timm model; see timm.list_models()")
    try:
        return timm.create_model(
            name, pretrained=False, features_only=True, out_indices=tuple(levels), **changed
        )
    except TypeError as error:
        raise ConfigError(f"backbone '{name}' does not take {sorted(changed)}") from error


def feature_channels(backbone: nn.Module) -> list[int]:
    """Channels of the maps that a backbone of `build_backbone` returns, finest first."""
    return list(backbone.feature_info.channels())
