"""Views of a rig, similarity and Gaussians: what is left and far must be so in the picture."""

import dataclasses

import numpy as np
import pytest

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.viz.draw import Caption
from occ_perception.viz.surround_pictures import (
    GaussianScene,
    gaussian_picture,
    rig_picture,
    similarity_picture,
)

CAPTION = Caption("test", 1_500_000_000)
GRID = GridSpec((-8.0, -8.0, -1.0), (0.4, 0.4, 0.4), (40, 40, 4), "base_link")
LABELS = load_label_map("occ3d_nuscenes")
CAR, TREE = LABELS.id_of("car"), LABELS.id_of("vegetation")


def scene(**changes):
    # A long car ahead on the left, turned by a quarter, and a tree behind on the right.
    half = np.sqrt(0.5)
    base = {
        "means": np.array([[5.0, 3.0, 0.5], [-5.0, -4.0, 1.0]]),
        "scales": np.array([[1.0, 0.2, 0.5], [0.4, 0.4, 1.0]]),
        "wxyz": np.array([[half, 0, 0, half], [1.0, 0, 0, 0]]),
        "opacities": np.array([1.0, 1.0]),
        "labels": np.array([CAR, TREE], np.uint8),
    }
    return GaussianScene(**(base | changes))


def colour_at(picture, place):
    u, v = picture.pixel_of(place)
    return picture.image[v, u].astype(int)


def test_gaussians_lie_where_they_are_in_the_colours_of_their_classes():
    picture = gaussian_picture(scene(), GRID, LABELS, CAPTION)
    for place, label in (((5.0, 3.0, 0), CAR), ((-5.0, -4.0, 0), TREE)):
        assert np.abs(colour_at(picture, place) - LABELS.palette()[label]).max() < 12
    assert colour_at(picture, (5.0, -3.0, 0)).min() > 240  # the other side is empty


def test_a_turned_gaussian_is_long_where_it_is_turned_to():
    picture = gaussian_picture(scene(), GRID, LABELS, CAPTION)
    across, along = colour_at(picture, (5.0, 4.2, 0)), colour_at(picture, (6.2, 3.0, 0))
    assert np.abs(across - 255).max() > 80  # its long axis now runs along y
    assert along.min() > 240


def test_motion_is_drawn_from_where_it_starts():
    still = gaussian_picture(scene(), GRID, LABELS, CAPTION)
    flow = np.array([[4.0, 0, 0], [0, 0, 0.1]])
    moving = gaussian_picture(scene(flow=flow), GRID, LABELS, CAPTION)
    end = (6.5, 3.0, 0)
    assert np.abs(colour_at(moving, end) - colour_at(still, end)).max() > 100


def test_motion_has_a_head_where_it_leads_and_stays_on_the_map():
    still, ahead, back = (
        gaussian_picture(scene(flow=np.array([[speed, 0, 0], [0, 0, 0]])), GRID, LABELS, CAPTION)
        for speed in (0.0, 4.0, -4.0)
    )
    tip_up, tip_down = (5.0 + 1.8, 3.1, 0), (5.0 - 1.8, 3.1, 0)  # heads are wider than lines
    assert (colour_at(ahead, tip_up) != colour_at(still, tip_up)).any()
    assert (colour_at(back, tip_down) != colour_at(still, tip_down)).any()
    assert (colour_at(ahead, tip_down) == colour_at(still, tip_down)).all()
    outside = scene(means=np.array([[7.5, 3.0, 0.5], [-9.0, -4.0, 1.0]]))
    leaving = dataclasses.replace(outside, flow=np.array([[4.0, 0, 0], [2.0, 0, 0]]))
    pictures = [gaussian_picture(s, GRID, LABELS, CAPTION).image for s in (outside, leaving)]
    assert (pictures[0] == pictures[1]).all()


def test_similarity_shows_the_best_occupied_voxel_of_a_column():
    similarity = np.full(GRID.shape, 0.1)
    occupied = np.zeros(GRID.shape, bool)
    occupied[:20, :, 0] = True
    similarity[5, 30, 0], similarity[5, 10, 3] = 0.9, 0.9  # the second one is free
    picture = similarity_picture(similarity, occupied, GRID, "car", CAPTION)
    x, y = GRID.axis_centers(0), GRID.axis_centers(1)
    hot, cold = colour_at(picture, (x[5], y[30], 0)), colour_at(picture, (x[5], y[10], 0))
    assert hot[0] > hot[2] and np.abs(hot - cold).max() > 60
    similarity_picture(similarity, np.zeros_like(occupied), GRID, "car", CAPTION)  # all is free


@pytest.mark.parametrize("count", [1, 6])
def test_views_keep_their_names_and_sides(count):
    images = {f"CAM_{k}": np.full((90, 160, 3), 40 * k, np.uint8) for k in range(count)}
    sheet = rig_picture(images, CAPTION).image
    assert sheet.shape[1] >= 1280
    if count == 6:
        top, below = sheet[150], sheet[-150]
        assert top[100].tolist() == [0, 0, 0] and below[-100].tolist() == [200, 200, 200]
