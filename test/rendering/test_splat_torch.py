"""Splatting in plain torch, on scenes whose answer is known."""

import pytest
import torch

from occ_perception.rendering import splat_torch
from occ_perception.rendering.splat_torch import (
    SplatCameras,
    draw_splats,
    project_gaussians,
    square_extents,
    tight_extents,
)

WIDTH, HEIGHT = 40, 24  # neither is a multiple of a tile


def camera(count=1):
    K = torch.tensor([[30.0, 0, 20.5], [0, 30.0, 12.5], [0, 0, 1]])
    return SplatCameras(torch.eye(4).repeat(count, 1, 1), K.repeat(count, 1, 1), WIDTH, HEIGHT)


def render(means, opacities, features, scale=0.3, extents=square_extents, cameras=None):
    count = len(means)
    quaternions = torch.tensor([1.0, 0, 0, 0]).expand(count, 4)
    scales = torch.full((count, 3), scale)
    cameras = cameras or camera()
    splats = project_gaussians(means, scales, quaternions, opacities, cameras, extents)
    return splats, draw_splats(splats, opacities, features, WIDTH, HEIGHT)


def random_scene(count=200):
    g = torch.Generator().manual_seed(3)
    means = torch.rand(count, 3, generator=g) * torch.tensor([6.0, 4, 8])
    means -= torch.tensor([3.0, 2, 1])
    return means, torch.rand(count, generator=g), torch.randn(count, 2, generator=g)


def test_a_gaussian_on_a_pixel_centre_shows_its_feature_and_depth():
    means, opacities = torch.tensor([[0.0, 0.0, 4.0]]), torch.tensor([0.6])
    _, images = render(means, opacities, torch.tensor([[2.0, -1.0]]))
    torch.testing.assert_close(
        images.values[0, 12, 20], torch.tensor([0.6 * 2, 0.6 * -1, 0.6 * 4]), rtol=1e-5, atol=1e-5
    )
    assert float(images.alphas[0, 12, 20]) == pytest.approx(0.6)
    assert float(images.alphas[0, 0, 0]) == 0


def test_what_is_nearer_hides_what_is_behind():
    means = torch.tensor([[0.0, 0, 6.0], [0, 0, 3.0]])
    _, images = render(means, torch.tensor([0.8, 0.5]), torch.eye(2))
    torch.testing.assert_close(
        images.values[0, 12, 20, :2], torch.tensor([0.5 * 0.8, 0.5]), rtol=1e-5, atol=1e-5
    )


def test_blending_stops_before_a_pixel_is_black():
    means = torch.stack([torch.tensor([0.0, 0, 2.0 + 0.1 * i]) for i in range(4)])
    _, images = render(means, torch.full((4,), 0.99), torch.eye(4))
    shown = images.values[0, 12, 20, :4] > 0
    assert shown.tolist() == [True, False, False, False]


def test_what_is_behind_the_camera_or_beside_the_image_is_culled():
    means = torch.tensor([[0.0, 0, -4.0], [50.0, 0, 4.0], [0.0, 0, 4.0]])
    splats, _ = render(means, torch.full((3,), 0.5), torch.ones(3, 1))
    assert splats.drawn[0].tolist() == [False, False, True]


def test_tiles_and_batches_leave_no_seams(monkeypatch):
    scene = random_scene()
    _, whole = render(*scene)
    monkeypatch.setitem(splat_torch._PAIRS_AT_ONCE, "cpu", 1)
    _, tile_by_tile = render(*scene)
    torch.testing.assert_close(whole.values, tile_by_tile.values)


def test_cameras_do_not_mix():
    scene = random_scene()
    cameras = camera(2)
    cameras.T_cam_world[1, 0, 3] = 0.7
    _, both = render(*scene, cameras=cameras)
    single = SplatCameras(cameras.T_cam_world[1:], cameras.K[1:], WIDTH, HEIGHT)
    _, second = render(*scene, cameras=single)
    torch.testing.assert_close(both.values[1], second.values[0])


def test_tight_extents_draw_everything_that_is_visible():
    means, opacities, features = random_scene()
    _, tight = render(means, opacities, features, extents=tight_extents)
    _, all_of_it = render(
        means, opacities, features, extents=lambda c, o: torch.full_like(c[..., :2], 1e6)
    )
    torch.testing.assert_close(tight.values, all_of_it.values, rtol=1e-4, atol=1e-4)
    faint, _ = render(means[:1], torch.tensor([0.003]), features[:1], extents=tight_extents)
    assert not faint.drawn.any()


def test_an_empty_view_is_black():
    _, images = render(torch.tensor([[0.0, 0, -1.0]]), torch.ones(1), torch.ones(1, 3))
    assert images.values.shape == (1, HEIGHT, WIDTH, 4)
    assert not images.values.any()
