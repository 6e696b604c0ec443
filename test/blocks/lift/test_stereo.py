"""Correlation and resampling against loops and grid_sample."""

import pytest
import torch
from torch.nn import functional as F

from occ_perception.blocks.lift.stereo import (
    Hourglass3d,
    StereoNet,
    correlate,
    disparity_to_depth,
    resample,
    true_disparity_to_depth,
)


def correlated_plainly(left, right, groups, disparities):
    b, c, h, w = left.shape
    volume = left.new_zeros(b, groups, disparities, h, w)
    for i in range(min(disparities, w)):
        products = left[..., i:] * right[..., : w - i]
        volume[:, :, i, :, i:] = products.unflatten(1, (groups, c // groups)).mean(dim=2)
    return volume


def resampled_by_grid(volume, calib, bins):
    """(group, disparity) as the image plane of grid_sample, one sample and pixel at a time."""
    b, g, d, h, w = volume.shape
    disparity = (calib / 4).to(volume.dtype) / torch.arange(1, bins + 1)
    x = 2 * disparity / (d - 1) - 1
    y = 2 * torch.arange(g) / (g - 1) - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[None, :, None]), dim=-1)
    planes = volume.permute(0, 3, 4, 1, 2).reshape(b, h * w, g, d)
    sampled = F.grid_sample(planes, grid.to(volume.dtype), align_corners=True)
    return sampled.reshape(b, h, w, g, bins).permute(0, 3, 4, 1, 2)


def pair(width=7):
    g = torch.Generator().manual_seed(1)
    left, right = (torch.randn(2, 6, 3, width, generator=g).double() for _ in range(2))
    return left.requires_grad_(), right.requires_grad_()


def test_correlation_equals_a_loop_over_disparities():
    left, right = pair()
    for groups, disparities in ((3, 5), (2, 7), (6, 12), (1, 1)):  # 12: beyond the width
        ours = correlate(left, right, groups, disparities)
        plain = correlated_plainly(left, right, groups, disparities)
        torch.testing.assert_close(ours, plain)
        ours, plain = (
            torch.autograd.grad((v * torch.linspace(-1, 2, disparities)[:, None, None]).sum(),
                                (left, right))
            for v in (ours, plain)
        )  # fmt: skip
        torch.testing.assert_close(ours, plain)


def test_a_shifted_view_correlates_best_at_its_shift():
    left = torch.randn(1, 32, 1, 40, generator=torch.Generator().manual_seed(0))
    volume = correlate(left, left.roll(-3, dims=-1), 1, 8)
    assert (volume[0, 0, :, 0, 8:-3].argmax(dim=0) == 3).all()


def test_resampling_equals_grid_sample():
    volume = torch.randn(2, 4, 9, 2, 3, generator=torch.Generator().manual_seed(2)).double()
    volume.requires_grad_()
    # 61.3 / 4 = 15.3: beyond the last disparity; 33.2 / 4 = 8.3: half outside
    calib = torch.tensor([[61.3], [33.2]], dtype=torch.float64)
    matrix = disparity_to_depth(calib, 9)
    assert matrix.dtype == torch.float32
    ours = resample(volume, matrix.double())
    expected = resampled_by_grid(volume, calib, 9)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(v.square().sum(), volume)[0] for v in (ours, expected)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_disparities_beyond_the_last_one_count_as_nothing():
    matrix = disparity_to_depth(torch.tensor([[100.0]], dtype=torch.float64), 5)[0]
    assert not matrix[:4].any()  # disparities 25, 12.5, 8.3, 6.25
    assert not matrix[4].any()  # 5 lies one beyond 4
    half = disparity_to_depth(torch.tensor([[18.0]], dtype=torch.float64), 5)[0]
    torch.testing.assert_close(half[0], torch.tensor([0, 0, 0, 0, 0.5]))
    torch.testing.assert_close(half[1], torch.tensor([0, 0, 0.75, 0.25, 0]))


def test_an_hourglass_keeps_the_size():
    volume = torch.randn(1, 4, 8, 4, 12)
    assert Hourglass3d(4)(volume).shape == volume.shape


def test_the_stereo_net_answers_with_a_distribution_and_trains_everything():
    torch.manual_seed(0)
    net = StereoNet(in_channels=8, channels=8, match_channels=8, groups=4)
    left, right = torch.randn(2, 1, 8, 4, 12)
    cameras = 100 * torch.randn(2, 1, 30)
    to_depth = disparity_to_depth(torch.tensor([[30.0]], dtype=torch.float64), 8)
    prob = net(left, right, *cameras, to_depth)
    torch.testing.assert_close(prob.sum(dim=1), torch.ones(1, 4, 12))
    (prob * torch.randn_like(prob)).sum().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_true_disparities_find_a_point_at_its_depth():
    """Focal x baseline 400, half-size images, stride 8: 5 m are 5 feature pixels."""
    calib, scale = torch.tensor([[400.0]], dtype=torch.float64), torch.tensor([[1 / 16]])
    matrix = true_disparity_to_depth(calib, scale, torch.tensor([2.5, 5.0, 10.0]))[0]
    assert torch.equal(matrix[1], torch.zeros(3))  # 5 pixels are beyond the 3 that are looked at
    wide = true_disparity_to_depth(calib, scale, torch.arange(2.0, 22.0))[0]
    assert wide[3].argmax() == 5 and wide[3, 5] == 1  # 5 m
    assert wide[8, 2] == pytest.approx(0.5) and wide[8, 3] == pytest.approx(0.5)  # 10 m: 2.5
