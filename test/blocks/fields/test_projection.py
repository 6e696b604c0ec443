"""Points land where they should, and the fused gather is bilinear sampling."""

import pytest
import torch
from torch.nn import functional as F

from occ_perception.blocks.fields.projection import (
    bilinear_taps,
    project_normalised,
    read_taps,
    sample_bilinear,
)

K = torch.tensor([[[0.8, 0.0, -0.1], [0.0, 2.0, 0.2], [0.0, 0.0, 1.0]]])
IDENTITY = torch.eye(4)[None]


def grid_sample(maps, uv):
    sampled = F.grid_sample(maps, uv[:, :, None], padding_mode="border", align_corners=False)
    return sampled[..., 0].mT


def test_a_marked_point_projects_to_its_place():
    seen = project_normalised(torch.tensor([[[1.0, -0.5, 4.0]]]), IDENTITY, K)
    assert torch.allclose(seen.uv[0, 0], torch.tensor([0.8 / 4 - 0.1, -1.0 / 4 + 0.2]))
    assert seen.depth_m.item() == 4.0
    assert not seen.outside.item()


@pytest.mark.parametrize("point", [(0, 0, -2), (0, 0, 0), (9, 0, 4), (0, -5, 4)])
def test_points_behind_and_beside_are_outside(point):
    points = torch.tensor([[point]], dtype=torch.float32)
    assert project_normalised(points, IDENTITY, K).outside.item()


def test_the_camera_pose_is_applied():
    T = torch.eye(4)[None].clone()
    T[0, 2, 3] = 3.0
    assert project_normalised(torch.tensor([[[0.0, 0.0, 1.0]]]), T, K).depth_m.item() == 4.0


def test_taps_sample_as_grid_sample_does_values_and_gradients():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 5, 7, 9, generator=generator, requires_grad=True)
    twin = maps.detach().clone().requires_grad_()
    uv = torch.rand(2, 200, 2, generator=generator) * 3 - 1.5  # beyond the border too
    ours, theirs = sample_bilinear(maps, uv), grid_sample(twin, uv)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    weight = torch.randn(ours.shape, generator=generator)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    torch.testing.assert_close(maps.grad, twin.grad, rtol=1e-4, atol=1e-5)


def test_samples_of_a_batch_do_not_mix():
    maps = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    values = sample_bilinear(maps, torch.zeros(2, 3, 2))
    assert values[0].eq(0).all() and values[1].eq(1).all()


def test_points_without_a_place_read_some_pixel_and_do_not_crash():
    taps = bilinear_taps(torch.tensor([[[float("nan"), float("inf")]]]), 4, 4)
    assert read_taps(torch.ones(1, 2, 4, 4), taps).isfinite().all()
