import numpy as np
import pytest

from occ_perception.core.camera import Camera
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.geometry.transforms import R_BODY_OPTICAL, inverse
from occ_perception.viz.bag_pictures import (
    lidar_over_image,
    points_from_above,
    project_points,
    voxels_over_image,
)
from occ_perception.viz.draw import CAPTION_PX, MARGIN_PX, Caption

P = np.array([[100.0, 0, 80, -54.0], [0, 100, 60, 0], [0, 0, 1, 0]])
T_BASE_CAM = np.eye(4)
T_BASE_CAM[:3, :3] = R_BODY_OPTICAL
CAMERA = Camera("front", P, 160, 120, T_BASE_CAM)
CAPTION = Caption("drive", 10**18)
IMAGE = np.full((120, 160, 3), 50, np.uint8)


def content(picture, u, v):
    return picture.image[CAPTION_PX + v, MARGIN_PX + u]


def test_points_land_on_their_pixels_and_nowhere_else():
    points = np.array([[10.0, 2.0, 1.0], [-10.0, 0, 0], [10.0, 20.0, 0], [np.nan, 0, 0]])
    seen = project_points(points, CAMERA, inverse(T_BASE_CAM))
    assert seen.index.tolist() == [0]
    # Left of the middle and above it; P's fourth column plays no part.
    np.testing.assert_allclose(seen.uv[0], (80 - 20, 60 - 10))
    assert seen.depth_m[0] == pytest.approx(10)


def test_near_points_are_drawn_over_far_ones():
    points = np.array([[5.0, 0, 0], [50.0, 0, 0]])
    for order in ([0, 1], [1, 0]):
        picture = lidar_over_image(IMAGE, CAMERA, points[order], inverse(T_BASE_CAM), CAPTION)
        red, _, blue = content(picture, 80, 60).astype(int)
        assert red > blue
    assert content(picture, 10, 10).tolist() == [50, 50, 50]


def test_voxels_have_their_place_size_and_colour():
    labels = load_label_map("semantickitti")
    grid = GridSpec((0.0, -8.0, -2.0), (0.5, 0.5, 0.5), (40, 32, 8), "base_link")
    volume = np.zeros(grid.shape, np.uint8)
    cell, _ = grid.index_of((10.25, 2.25, 0.25))
    volume[tuple(cell)] = 1
    volume[tuple(grid.index_of((15.25, -2.25, 0.25))[0])] = labels.unknown_id
    picture = voxels_over_image(IMAGE, CAMERA, volume, grid, labels, inverse(T_BASE_CAM), CAPTION)
    u, v = round(80 - 100 * 2.25 / 10.25), round(60 - 100 * 0.25 / 10.25)
    expected = 0.65 * np.array(labels.colors_rgb[1]) + 0.35 * 50
    np.testing.assert_allclose(content(picture, u, v), expected, atol=1)
    changed = (picture.image[CAPTION_PX : CAPTION_PX + 120, MARGIN_PX : MARGIN_PX + 160] != 50).any(
        -1
    )
    assert changed.sum() in range(16, 50)  # 4.9 px wide; the unknown one is not drawn


def test_from_above_forward_is_up_and_left_is_left():
    points = np.array([[25.0, 0, 3.9], [0.0, 25.0, 3.9]])
    picture = points_from_above(points, [CAMERA], CAPTION, "base_link")
    scale = 720 / 100
    for u, v in ((360, 360 - 25 * scale), (360 - 25 * scale, 360)):
        red, _, blue = content(picture, round(u), round(v)).astype(int)
        assert red > blue + 50
