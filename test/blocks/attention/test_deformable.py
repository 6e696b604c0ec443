"""Deformable attention into several images, against one camera and one level at a time."""

import pytest
import torch
from torch.nn import functional as F

from occ_perception.blocks.attention.deformable import (
    DeformableCrossAttention,
    plan_projection,
    project_points,
)

SIZE = (32, 64)


def rig():
    """One camera forward, one backward, half a metre apart."""
    optical = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    poses[0, 0, :3, :3] = optical
    poses[0, 1, :3, :3] = torch.diag(torch.tensor([-1.0, -1, 1])) @ optical
    poses[0, 1, 0, 3] = -0.5
    K = torch.tensor([[60.0, 0, 64], [0, 60.0, 32], [0, 0, 1]]).expand(1, 2, 3, 3)
    half = torch.tensor([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]]).expand(1, 2, 3, 3)
    return plan_projection(poses, K, half, SIZE)


def points(count=50):
    g = torch.Generator().manual_seed(2)
    return torch.rand(1, count, 3, generator=g) * torch.tensor([16.0, 12, 6]) - torch.tensor(
        [8.0, 6, 3]
    )


def attention(**options):
    torch.manual_seed(0)
    net = DeformableCrossAttention(16, cameras=2, levels=2, heads=4, points=3, **options).eval()
    torch.nn.init.normal_(net.attention_weights.weight)
    torch.nn.init.normal_(net.sampling_offsets.weight, std=0.3)
    return net


def inputs():
    g = torch.Generator().manual_seed(1)
    maps = [torch.randn(1, 2, 16, *size, generator=g) for size in ((8, 16), (4, 8))]
    return torch.randn(1, 50, 16, generator=g), points(), maps


def read_one_by_one(net, features, points, maps, plan):
    """The definition with `grid_sample`, camera by camera and level by level."""
    position, visible = project_points(points, plan)
    offsets = net.sampling_offsets(features).view(-1, 4, 2, 3, 2)
    weights = net.attention_weights(features).view(-1, 4, 6).softmax(-1).view(-1, 4, 2, 3)
    total = torch.zeros(features.shape[1], 4, 4)
    for camera in range(2):
        read = torch.zeros_like(total)
        for level, features_map in enumerate(maps):
            h, w = features_map.shape[-2:]
            value = features_map[0, camera].flatten(1).T + net.cams_embeds[camera]
            value = net.value_proj(value + net.level_embeds[level]).view(h, w, 4, 4)
            at = position[0, camera, :, None, None] + offsets[:, :, level] / torch.tensor([w, h])
            for head in range(4):
                sampled = F.grid_sample(
                    value[:, :, head].permute(2, 0, 1)[None],
                    2 * at[None, :, head] - 1,
                    align_corners=False,
                )[0]
                read[:, head] += (sampled * weights[:, head, level]).sum(-1).T
        total += read * visible[0, camera, :, None, None]
    total = total.flatten(1) / visible[0].sum(0).clamp(min=1)[:, None]
    return net.ln(net.output_proj(total)[None] + features)


def test_equals_the_definition_with_gradients():
    net, plan = attention(), rig()
    features, at, maps = inputs()
    maps = [m.requires_grad_() for m in maps]
    fast = net(features, at, maps, plan)
    slow = read_one_by_one(net, features, at, maps, plan)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    wanted = [*maps, net.sampling_offsets.weight, net.attention_weights.weight, net.cams_embeds]
    weights = torch.randn(fast.shape, generator=torch.Generator().manual_seed(5))
    gradients = [torch.autograd.grad((out * weights).sum(), wanted) for out in (fast, slow)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_positions_of_points_move_the_samples():
    net, plan = attention(), rig()
    features, at, maps = inputs()
    at.requires_grad_()
    net(features, at, maps, plan).square().sum().backward()
    _, visible = project_points(at, plan)
    seen = visible[0].any(dim=0)
    assert (at.grad[0, seen].abs().sum(dim=-1) > 0).all()
    assert not at.grad[0, ~seen].any()


def test_what_no_camera_sees_gets_bias_and_norm_only():
    net, plan = attention(), rig()
    features, _, maps = inputs()
    above = torch.tensor([0.0, 0, 30.0]).expand(1, 50, 3)
    expected = net.ln(net.output_proj.bias + features)
    torch.testing.assert_close(net(features, above, maps, plan), expected)


def test_a_marked_point_is_where_it_must_be():
    position, visible = project_points(torch.tensor([[[4.0, 1.0, 0.5], [-4.0, 0, 0]]]), rig())
    # 4 m ahead, 1 m left, 0.5 m up: u = 64 - 15, v = 32 - 7.5, halved, over the image's size
    expected = torch.tensor([49.0 / 2 / 64, 24.5 / 2 / 32])
    torch.testing.assert_close(position[0, 0, 0], expected, rtol=1e-4, atol=1e-4)
    assert visible[0].tolist() == [[True, False], [False, True]]


def test_mixed_precision_does_not_move_points():
    exact = project_points(points(), rig())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = project_points(points(), rig())
    assert torch.equal(exact[0], mixed[0])


def test_heads_start_by_looking_in_different_directions():
    net = DeformableCrossAttention(16, cameras=2, levels=1, heads=8, points=2)
    offsets = net.sampling_offsets.bias.view(8, 2, 2)
    assert offsets[0, 0].tolist() == pytest.approx([1, 0])
    assert offsets[1, 1].tolist() == pytest.approx([2, 2])
    assert net.attention_weights.weight.abs().sum() == 0
