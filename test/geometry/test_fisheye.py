"""Fisheye images resampled to pinhole views."""

import pytest
import torch

from occ_perception.core.errors import CalibrationError
from occ_perception.geometry.fisheye import MeiCamera, pinhole_grid, resample, virtual_rotation

STRAIGHT = MeiCamera(xi=0.0, k1=0.0, k2=0.0, gamma=(0.8, 2.0), centre=(-0.1, 0.2))
K = torch.tensor([[0.8, 0.0, -0.1], [0.0, 2.0, 0.2], [0.0, 0.0, 1.0]])


def test_a_model_without_mirror_and_distortion_is_a_pinhole():
    direction = torch.tensor([0.3, -0.2, 2.0])
    uvw = K @ direction
    torch.testing.assert_close(STRAIGHT.project(direction), uvw[:2] / uvw[2])


def test_looking_straight_through_it_returns_the_image():
    image = torch.rand(1, 3, 12, 20)
    grid = pinhole_grid(STRAIGHT, virtual_rotation(0.0), K, (12, 20))
    torch.testing.assert_close(resample(image, grid), image, rtol=1e-3, atol=1e-4)


def test_a_negative_pitch_turns_the_view_the_published_way():
    forward = virtual_rotation(-15.0) @ torch.tensor([0.0, 0.0, 1.0])
    assert forward[1] > 0.25 and forward[2] > 0.96


def test_a_calibration_without_its_mirror_is_refused():
    with pytest.raises(CalibrationError, match="mirror"):
        MeiCamera.from_calibration({"image_width": 1, "image_height": 1})
