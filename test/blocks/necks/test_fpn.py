"""The feature pyramid against its definition."""

import torch
from torch.nn import functional as F

from occ_perception.blocks.necks.fpn import FPN


def pyramid():
    torch.manual_seed(0)
    maps = [torch.randn(2, c, 12 // 2**i, 20 // 2**i) for i, c in enumerate((4, 6, 8))]
    return FPN([4, 6, 8], 5, extra_levels=1), maps


def test_the_finest_output_holds_all_coarser_maps():
    neck, maps = pyramid()
    fine, middle, coarse = (conv(m) for conv, m in zip(neck.lateral_convs, maps, strict=True))
    middle = middle + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    fine = fine + middle.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(neck(maps)[0], neck.fpn_convs[0](fine))


def test_the_extra_level_is_made_from_the_coarsest_output():
    neck, maps = pyramid()
    outputs = neck(maps)
    weight, bias = neck.fpn_convs[3].weight, neck.fpn_convs[3].bias
    assert [o.shape[2:] for o in outputs] == [(12, 20), (6, 10), (3, 5), (2, 3)]
    torch.testing.assert_close(outputs[3], F.conv2d(outputs[2], weight, bias, 2, 1))


def test_unused_levels_are_not_computed_and_change_nothing():
    neck, maps = pyramid()
    seen = []
    for conv in neck.fpn_convs:
        conv.register_forward_hook(lambda module, *_: seen.append(module))
    only = neck(maps, levels=1)
    assert len(only) == 1 and seen == [neck.fpn_convs[0]]
    torch.testing.assert_close(only[0], neck(maps)[0])
