"""Depth net with matching cost: shapes, and what the answer depends on."""

import torch

from occ_perception.blocks.lift.stereo_depth_net import StereoDepthNet


def net():
    torch.manual_seed(0)
    return StereoDepthNet(8, 16, 6, bins=10, aspp_channels=4).eval()


def inputs():
    g = torch.Generator().manual_seed(1)
    shapes = ((2, 8, 4, 6), (2, 10, 16, 24), (2, 27))
    return [torch.randn(*shape, generator=g) for shape in shapes]


def test_depth_and_context_come_at_the_size_of_the_features():
    depth, context = net()(*inputs())
    assert depth.shape == (2, 10, 4, 6)
    assert context.shape == (2, 6, 4, 6)


def test_the_cost_moves_the_depth_and_not_the_context():
    features, cost, camera = inputs()
    model = net()
    before, after = model(features, cost, camera), model(features, cost + 1, camera)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert not torch.allclose(before[1], model(features, cost, camera * 2)[1])
