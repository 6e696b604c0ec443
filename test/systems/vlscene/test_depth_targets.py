"""Training targets of the depth distribution."""

import dataclasses

import pytest
import torch

from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.depth_targets import NO_TARGET, depth_bin_targets

CONFIG = VLSceneConfig(input_size=(32, 64))


@pytest.mark.parametrize(
    ("depth_m", "target"),
    [
        (2.3, 0),
        (2.74, 0),
        (2.75, 1),
        (10.0, 15),
        (58.2, 111),
        (2.2, NO_TARGET),
        (58.25, NO_TARGET),
        (200.0, NO_TARGET),
    ],
)
def test_target_k_covers_half_a_metre_from_2_25_plus_half_k(depth_m, target):
    image = torch.zeros(1, 32, 64)
    image[0, 13, 22] = depth_m
    targets = depth_bin_targets(image, CONFIG)
    assert targets[0, 1, 2] == target
    targets[0, 1, 2] = NO_TARGET
    assert (targets == NO_TARGET).all()


def test_the_nearest_point_of_a_cell_counts():
    image = torch.zeros(1, 32, 64)
    image[0, 0, 0], image[0, 7, 7], image[0, 8, 0] = 20.0, 5.0, 3.0
    assert depth_bin_targets(image, CONFIG)[0, 0, 0] == 5  # floor((5 - 1.75) / 0.5) - 1


def test_without_the_slips_the_target_is_the_bin_of_the_depth():
    config = dataclasses.replace(VLSceneConfig(), published_slips=False)
    depth = torch.zeros(1, *config.input_size)
    depth[0, 0, :5] = torch.tensor([0.0, 0.0, 0.0, 0.0, 12.1])
    bins = depth_bin_targets(depth, config)
    assert bins[0, 0, 0] == round((12.0 - config.depth_min_m) / config.depth_step_m)
    assert depth_bin_targets(depth, VLSceneConfig())[0, 0, 0] == bins[0, 0, 0] - 1
