"""Targets from a LiDAR scan seen by a camera that looks along x."""

import pytest
import torch

from occ_training.data.lidar_targets import depth_image, point_targets, see_points

T_LIDAR_CAM = torch.tensor([[0.0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
P = torch.tensor([[10.0, 0, 8, 0], [0, 10, 4, 0], [0, 0, 1, 0]])
SIZE = (8, 16)


def seen(points):
    return see_points(torch.tensor(points), T_LIDAR_CAM, P, torch.eye(3), SIZE)


def test_marked_point_lands_left_and_up():
    found = seen([[10.5, 2.0, 1.0]])  # 10 m ahead of the camera, 2 m left, 1 m up
    assert found.uv.tolist() == [[6.0, 3.0]]
    image = depth_image(found, SIZE)
    assert image.nonzero().tolist() == [[3, 6]]
    assert image[3, 6].item() == pytest.approx(10.0)


def test_nearest_point_of_a_pixel_wins():
    image = depth_image(seen([[20.5, 0.0, 0.0], [5.5, 0.0, 0.0], [10.5, 0.0, 0.0]]), SIZE)
    assert image[4, 8].item() == pytest.approx(5.0)
    assert image.count_nonzero() == 1


def test_points_behind_or_outside_are_dropped():
    points = [[-10.0, 0.0, 0.0], [0.5, 0.0, 0.0], [2.5, 9.0, 0.0], [10.5, 0.0, 0.0]]
    assert seen(points).index.tolist() == [3]


def test_targets_keep_their_labels():
    points = torch.tensor([[-1.0, 0, 0], [10.5, 2.0, 1.0]])
    found = see_points(points, T_LIDAR_CAM, P, torch.eye(3), SIZE)
    targets = point_targets(points, torch.tensor([3, 7]), found, SIZE)
    assert targets.points.tolist() == [[10.5, 2.0, 1.0, 7.0]]
    assert targets.uvd.tolist() == [[2 * 6 / 16 - 1, 2 * 3 / 8 - 1, 10.0]]
