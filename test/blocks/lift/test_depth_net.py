"""Camera-aware depth: its parts against their definitions."""

import torch
from torch.nn import functional as F

from occ_perception.blocks.lift.depth_net import Aspp, CameraGate, DepthNet, SelfOffsetConv2d


def deformed_plainly(x, offset, weight, groups):
    """Bilinear samples at integer pixel coordinates, zero outside, then a 1x1 convolution."""
    h, w = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    taps = []
    for k in range(9):
        y = rows + k // 3 - 1 + offset[:, 2 * k]
        z = columns + k % 3 - 1 + offset[:, 2 * k + 1]
        grid = torch.stack([2 * z / (w - 1) - 1, 2 * y / (h - 1) - 1], dim=-1)
        taps.append(F.grid_sample(x, grid, align_corners=True))
    samples = torch.stack(taps, dim=2).flatten(1, 2)  # channel-major, then tap
    return F.conv2d(samples, weight.flatten(2)[..., None].flatten(1, 2)[..., None], groups=groups)


def test_the_deformable_convolution_samples_where_its_offsets_say():
    torch.manual_seed(0)
    conv = SelfOffsetConv2d(8, groups=4).double()
    torch.nn.init.normal_(conv.conv_offset.weight, std=0.3)
    x = torch.randn(2, 8, 5, 6).double().requires_grad_()
    ours = conv(x)
    expected = deformed_plainly(x, conv.conv_offset(x), conv.weight, groups=4)
    torch.testing.assert_close(ours, expected)
    inputs = (x, conv.weight, conv.conv_offset.weight)
    gradients = [torch.autograd.grad(v.square().sum(), inputs) for v in (ours, expected)]
    torch.testing.assert_close(*gradients)


def test_it_starts_as_an_ordinary_convolution():
    conv = SelfOffsetConv2d(8, groups=4)
    x = torch.randn(1, 8, 5, 6)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, padding=1, groups=4))


def test_a_gate_scales_whole_channels_by_the_camera_alone():
    gate = CameraGate(30, 4)
    camera = torch.randn(2, 30)
    ratio = gate(torch.ones(2, 4, 3, 3), camera)
    assert (ratio > 0).all() and (ratio < 1).all()
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))
    torch.testing.assert_close(gate(torch.full((2, 4, 3, 3), 5.0), camera), 5 * ratio)


def test_pyramid_pooling_sees_the_whole_map():
    torch.manual_seed(0)
    aspp = Aspp(16).eval()
    x = torch.randn(1, 16, 40, 40, requires_grad=True)
    aspp(x)[0, :, 20, 20].sum().backward()
    assert x.grad[0, :, 0, 0].any()  # beyond every dilated tap: the global branch


def test_logits_and_context_have_the_sizes_asked_for_and_everything_trains():
    torch.manual_seed(0)
    net = DepthNet(in_channels=6, channels=8, context_channels=5, bins=12)
    logits, context = net(torch.randn(2, 6, 8, 10), 300 * torch.randn(2, 30))
    assert (logits.shape, context.shape) == ((2, 12, 8, 10), (2, 5, 8, 10))
    (logits.square().sum() + context.square().sum()).backward()
    assert all(p.grad is not None for p in net.parameters())
