"""Image backbones are built by timm's names, without downloads."""

import pytest
import torch

from occ_perception.blocks.backbones import build_backbone, feature_channels
from occ_perception.core.errors import ConfigError

NANO = {"widths": (16, 32, 64, 128), "depths": (1, 1, 1, 1)}


def test_maps_come_at_the_strides_and_channels_that_are_promised():
    backbone = build_backbone("repvit_m0_9", levels=(1, 2, 3), **NANO)
    maps = backbone(torch.zeros(1, 3, 64, 96))
    assert [m.shape[1] for m in maps] == feature_channels(backbone) == [32, 64, 128]
    assert [m.shape[2:] for m in maps] == [(8, 12), (4, 6), (2, 3)]


def test_every_residual_branch_starts_switched_off():
    backbone = build_backbone("repvit_m0_9", levels=(3,), **NANO)
    block = backbone.get_submodule("stages_3.blocks.0.channel_mixer")
    assert not block(torch.randn(1, 128, 4, 4)).any()


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="repvit_m9_9"):
        build_backbone("repvit_m9_9", levels=(1,))


def test_widths_that_a_model_does_not_have_are_refused():
    with pytest.raises(ConfigError, match="embed_dim"):
        build_backbone("resnet18", levels=(1,), widths=(8, 16))
