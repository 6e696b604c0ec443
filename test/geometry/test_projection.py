"""Projection of points."""

import torch

from occ_perception.geometry.projection import project, visible

P = torch.tensor([[100.0, 0, 50, -30], [0, 100, 40, 0], [0, 0, 1, 0]])


def test_a_known_point_lands_on_its_pixel():
    uv, depth = project(torch.tensor([[1.0, -0.5, 10.0]]), P)
    assert torch.allclose(uv, torch.tensor([[57.0, 35.0]]))
    assert depth.item() == 10


def test_points_behind_the_camera_are_not_visible():
    points = torch.tensor([[0.0, 0, 5], [0, 0, -5], [0, 0, 0], [100, 0, 5]])
    uv, depth = project(points, P)
    assert torch.isfinite(uv).all()
    assert visible(uv, depth, 100, 80).tolist() == [True, False, False, False]
