"""Depth, features and classes of pixels as pictures."""

import numpy as np
import pytest

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.viz.draw import CAPTION_PX, MARGIN_PX, Caption
from occ_perception.viz.image_pictures import class_picture, depth_picture, feature_picture
from occ_perception.viz.palette import UNKNOWN, UNKNOWN_LINE
from occ_perception.viz.pictures import profile_picture

CAPTION = Caption("vipocc", 10**9, "toy.safetensors")
LEFT, TOP = MARGIN_PX, CAPTION_PX + 8


def at(picture, row, column, zoom):
    """Colour in the middle of an image's pixel."""
    middle = zoom // 2
    return picture.image[TOP + row * zoom + middle, LEFT + column * zoom + middle].astype(int)


def test_near_is_brighter_than_far_and_nothing_is_hatched():
    depth = np.array([[3.0, 10.0, 80.0, np.nan]], dtype=np.float32)
    picture = depth_picture(depth, CAPTION)
    near, middle, far, hole = (at(picture, 0, c, 240) for c in range(4))
    assert near.sum() > middle.sum() > far.sum()
    assert tuple(hole) in (UNKNOWN, UNKNOWN_LINE)


def test_the_bar_has_the_colours_of_the_depths_that_it_names():
    depth = np.full((20, 40), 10.0, dtype=np.float32)
    picture = depth_picture(depth, CAPTION)
    share = (1 / 10 - 1 / 80) / (1 / 3 - 1 / 80)  # of the bar's height, from below
    row = TOP + round((1 - share) * (20 * 24 - 1))
    bar = picture.image[row, MARGIN_PX + 960 + 24 + 5].astype(int)
    assert np.abs(bar - at(picture, 5, 5, 24)).max() <= 4


def test_colours_of_features_stay_as_they_are():
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = feature_picture(colours, CAPTION)
    assert (at(picture, 2, 3, 120) == colours[2, 3]).all()


def test_classes_have_the_colours_of_the_map():
    label_map = load_label_map("sscbench_15")
    labels = np.array([[7, 1], [0, 255]], dtype=np.uint8)
    picture = class_picture(labels, label_map, CAPTION)
    assert tuple(at(picture, 0, 0, 480)) == (128, 64, 128)
    assert tuple(at(picture, 1, 1, 480)) in (UNKNOWN, UNKNOWN_LINE)


def test_the_profile_shows_filled_columns_where_they_are():
    grid = GridSpec((0.0, -5.0, -2.0), (1.0, 1.0, 1.0), (10, 10, 4), "velodyne")
    occupied, known = np.zeros(grid.shape), np.ones(grid.shape, dtype=bool)
    occupied[7, 2], known[0] = 1.0, False
    picture = profile_picture(occupied, known, grid, CAPTION)

    def colour(x, y):
        u, v = picture.pixel_of((x, y, 0.0))
        return tuple(picture.image[v, u].tolist())

    assert sum(colour(7.5, -2.5)) > 600 > 60 > sum(colour(4.5, 2.5))
    assert colour(0.3, 2.2) in (UNKNOWN, UNKNOWN_LINE)


@pytest.mark.parametrize("name", ["occupancy", "sscbench_15"])
def test_new_label_maps_can_be_drawn(name):
    label_map = load_label_map(name)
    labels = np.array([label_map.ids], dtype=np.uint8)
    assert class_picture(labels, label_map, CAPTION).image.shape[2] == 3
