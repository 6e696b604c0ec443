"""Rays, grids and normalised intrinsics."""

import numpy as np
import pytest
import torch

from occ_perception.geometry.rays import (
    centre_grid,
    corner_grid,
    normalised_intrinsics,
    pixel_intrinsics,
    points_on,
    rays_through,
    z_per_distance,
)

K = torch.tensor([[0.8, 0.0, -0.1], [0.0, 2.0, 0.2], [0.0, 0.0, 1.0]])


def test_grids_end_at_the_corners_or_half_a_pixel_inside():
    corners, centres = corner_grid(4, 5), centre_grid(4, 5)
    assert corners[0, 0].tolist() == [-1, -1] and corners[-1, -1].tolist() == [1, 1]
    torch.testing.assert_close(centres[0, 0], torch.tensor([-0.8, -0.75]))
    torch.testing.assert_close(centres[3, 4], torch.tensor([0.8, 0.75]))


def test_normalised_intrinsics_do_not_change_with_the_image_size():
    pixels = np.array([[500.0, 0, 320], [0, 400, 100], [0, 0, 1]])
    half = np.diag([0.5, 0.5, 1]) @ pixels
    np.testing.assert_allclose(
        normalised_intrinsics(pixels, 640, 192), normalised_intrinsics(half, 320, 96)
    )


def test_pixel_intrinsics_invert():
    pixels = np.array([[500.0, 0, 320], [0, 400, 100], [0, 0, 1]])
    there = torch.from_numpy(normalised_intrinsics(pixels, 640, 192))
    np.testing.assert_allclose(pixel_intrinsics(there, 640, 192).numpy(), pixels)


def test_points_on_rays_project_back_to_their_pixel():
    uv = corner_grid(3, 4)
    T = torch.eye(4)
    rays = rays_through(uv, K, T)
    points = points_on(rays, torch.full((3, 4, 1), 7.0))[..., 0, :]
    uvw = points @ K.T
    torch.testing.assert_close(uvw[..., :2] / uvw[..., 2:], uv, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(points.norm(dim=-1), torch.full((3, 4), 7.0))
    torch.testing.assert_close(points[..., 2], 7.0 * z_per_distance(uv, K))


def test_rays_start_at_the_camera():
    T = torch.eye(4)
    T[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    assert rays_through(corner_grid(2, 2), K, T).origins[1, 1].tolist() == pytest.approx([1, 2, 3])
