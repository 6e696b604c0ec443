"""Decoders: sizes, and the shortcut that is no change."""

import pytest
import torch
from torch.nn import functional as F

from occ_perception.blocks.necks.dpt import DptNeck, Fusion
from occ_perception.blocks.necks.monodepth import MonodepthDecoder


@pytest.mark.parametrize("match_levels", [False, True])
def test_four_maps_become_one_eight_times_as_large(match_levels):
    neck = DptNeck(8, (4, 4, 6, 10), 6, match_levels)
    maps = [torch.randn(1, 8, 6, 10) for _ in range(4)]
    assert neck(maps).shape == (1, 6, 48, 80)


def test_matching_levels_follows_odd_grids_exactly():
    neck = DptNeck(8, (4, 4, 6, 10), 6, match_levels=True)
    assert neck([torch.randn(1, 8, 5, 7)] * 4).shape == (1, 6, 40, 56)


def test_projecting_before_enlarging_is_the_same_as_after():
    torch.manual_seed(0)
    fusion = Fusion(5, first=False)
    x, own = torch.randn(1, 5, 6, 8), torch.randn(1, 5, 6, 8)
    refined = fusion.refine(x + fusion.own(own))
    after = fusion.project(
        F.interpolate(refined, scale_factor=2, mode="bilinear", align_corners=True)
    )
    torch.testing.assert_close(fusion(x, own, None), after, rtol=1e-5, atol=1e-5)


def test_monodepth_reaches_the_full_resolution_and_cuts_odd_sizes():
    decoder = MonodepthDecoder((4, 6, 8, 10, 12), (3, 4, 5, 6, 7), 2)
    sides = [(24, 28), (12, 14), (6, 7), (3, 4), (2, 2)]
    maps = [torch.randn(1, c, *s) for c, s in zip((4, 6, 8, 10, 12), sides, strict=True)]
    assert decoder(maps).shape == (1, 2, 48, 56)
