"""Floors learnt from bags: what they say, how they are kept, what they score."""

import numpy as np
import pytest

from occ_perception.core.errors import ConfigError
from occ_perception.core.grid import GridSpec
from occ_training.world.bag_floors import FloorMaps, score_floors
from occ_training.world.floors import BlindGuess

GRID = GridSpec((0.0, -1.0, -2.0), (0.5, 0.5, 0.5), (4, 4, 4), "velodyne")


def test_the_mean_map_is_the_most_frequent_known_label():
    guess = BlindGuess(GRID, -1.73, (9, 11), 20)
    for label in (13, 13, 9):
        truth = np.full(GRID.shape, 255, dtype=np.uint8)
        truth[0, 0, 0], truth[1, 0, 0] = label, 255 if label == 9 else 0
        guess.add(truth)
    assert guess.mean_map()[0, 0, 0] == 13
    assert guess.mean_map().sum() == 13


def test_flat_ground_lies_under_the_car_with_the_class_of_the_distance():
    guess = BlindGuess(GRID, -1.73, (9, 11), 20)
    truth = np.zeros(GRID.shape, dtype=np.uint8)
    truth[:, :, 0], truth[0, :, 0] = 11, 9
    guess.add(truth)
    flat = guess.flat_ground()
    assert set(np.unique(flat[:, :, 0])) == {11} and flat[:, :, 1:].sum() == 0


def test_floors_of_a_bag(truth_bag, tmp_path):
    maps = FloorMaps.learn([truth_bag])
    maps.save(tmp_path / "floors.npz")
    again = FloorMaps.load(tmp_path / "floors.npz")
    scores = score_floors([truth_bag], again, with_depth=True)
    assert scores["all free"].iou == 0
    # Learnt from what it is scored on: better than anything that a new drive allows.
    flat = scores["flat ground, class by distance"].iou
    assert 0 < flat < scores["mean map of the training set"].iou
    assert 0 < scores["depth stand-in unprojected"].iou < 0.6


def test_floors_that_do_not_exist_are_named(tmp_path):
    with pytest.raises(ConfigError, match="do not exist"):
        FloorMaps.load(tmp_path / "none.npz")
