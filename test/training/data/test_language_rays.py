"""Rays through pixels of several key frames."""

import numpy as np
import torch

from occ_training.data.language_rays import RayPixels, cast_pixels, draw_pixels


def pixels():
    return RayPixels(
        torch.tensor([0, 1, 1, 1]),
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([[50.0, 100.0], [50.0, 150.0], [0.0, 100.0], [50.0, 100.0]]),
        torch.tensor([5.0, 39.9, 40.0, 0.01]),
        torch.eye(4),
    )


def test_only_the_rendered_range_is_drawn_from():
    chosen = draw_pixels(pixels(), 10, np.random.RandomState(0))
    assert sorted(chosen.depth_m.tolist()) == [5.0, torch.tensor(39.9).item()]
    assert len(draw_pixels(pixels(), 1, np.random.RandomState(0)).depth_m) == 1


def test_rays_start_at_their_camera_and_pass_its_pixel():
    optical = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    poses = torch.eye(4).repeat(2, 2, 1, 1)
    poses[..., :3, :3] = optical
    poses[1, :, 0, 3] = 7.0
    K = torch.tensor([[100.0, 0, 100], [0, 100, 50], [0, 0, 1]]).expand(2, 3, 3)
    rays = cast_pixels(pixels(), K, poses, torch.diag(torch.tensor([1.0, -1, 1])))
    assert rays.origins[:, 0].tolist() == [0, 7, 7, 7]
    # Row 50, column 150: half a metre to the right per metre, and mirrored to the left.
    expected = torch.nn.functional.normalize(torch.tensor([1.0, 0.5, 0.0]), dim=0)
    torch.testing.assert_close(rays.directions[1], expected)
    torch.testing.assert_close(rays.directions[0], torch.tensor([1.0, 0, 0]))
