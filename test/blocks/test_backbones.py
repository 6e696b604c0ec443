"""Image backbones are built by timm's names, without downloads."""

import pytest
import torch

from occ_perception.blocks.backbones import build_backbone, feature_channels, first_map
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
        build_backbone("mobilenetv3_small_050", levels=(1,), widths=(8, 16))


def test_a_resnet_can_be_narrow_and_dilated():
    backbone = build_backbone("resnet18", (1, 4), **NANO, output_stride=8)
    fine, coarse = backbone(torch.zeros(1, 3, 64, 96))
    assert fine.shape == (1, 16, 16, 24)
    assert coarse.shape == (1, 128, 8, 12)


def test_the_first_map_alone_is_the_same():
    backbone = build_backbone("resnet18", (1, 3), **NANO).eval()
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(first_map(backbone, images), backbone(images)[0])
