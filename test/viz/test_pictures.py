import numpy as np
import pytest

from occ_perception.core.errors import PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.viz.cubes import voxel_picture
from occ_perception.viz.draw import Caption, stamp_text
from occ_perception.viz.palette import BLOCKED, FREE, ROBOT, UNKNOWN, hatch
from occ_perception.viz.pictures import (
    bev_labels,
    bev_picture,
    contact_sheet,
    grid_picture,
    input_picture,
)

MAP = load_label_map("semantickitti")
GRID = GridSpec((0.0, -12.8, -2.0), (0.2, 0.2, 0.2), (128, 128, 16), "velodyne")
CAPTION = Caption("vlscene", 1_893_456_000_300_000_000, "random")
MARK = MAP.id_of("traffic-sign")  # pure red
MARK_RGB = (255, 0, 0)
PLACE_M = (12.3, 4.5, -0.3)  # ahead, to the LEFT


def volume(fill=MAP.free_id, **places):
    labels = np.full(GRID.shape, fill, np.uint8)
    for name, point in places.items():
        index, inside = GRID.index_of(point)
        assert inside
        labels[tuple(index)] = MAP.id_of(name.replace("_", "-"))
    return labels


def pixels_of(image, color, tolerance=0):
    """(u, v) of all pixels of a colour in the map, legend left out."""
    near = (np.abs(image.astype(int) - color) <= tolerance).all(-1)
    v, u = np.nonzero(near)
    return u, v


def in_map(image, color, picture):
    u, v = pixels_of(image, color)
    legend = picture.pixel_of((0, GRID.origin_m[1], 0))[0] + 10
    return u[u < legend], v[u < legend]


def test_marked_voxel_is_ahead_and_to_the_left_from_above():
    picture = bev_picture(volume(traffic_sign=PLACE_M), GRID, MAP, CAPTION)
    u, v = in_map(picture.image, MARK_RGB, picture)
    robot_u, robot_v = (a.mean() for a in pixels_of(picture.image, ROBOT))
    assert u.mean() < robot_u - 50  # left
    assert v.mean() < robot_v - 50  # ahead is up
    assert (u.mean(), v.mean()) == pytest.approx(picture.pixel_of(PLACE_M), abs=1)
    # One voxel of 0.2 m, and the map is 128 voxels wide: the same scale in both directions.
    side = np.ptp(u) + 1
    assert len(u) == side**2
    assert (robot_u - u.mean()) / side * 0.2 == pytest.approx(PLACE_M[1], abs=0.15)
    assert (robot_v - v.mean()) / side * 0.2 == pytest.approx(PLACE_M[0], abs=0.5)


def test_topmost_class_is_seen_from_above():
    labels = volume(road=(5.1, 0.1, -1.9), car=(5.1, 0.1, -1.1))
    index, _ = GRID.index_of((5.1, 0.1, 0))
    assert bev_labels(labels, MAP)[index[0], index[1]] == MAP.id_of("car")


def test_unknown_is_never_free_from_above():
    labels = volume(fill=MAP.unknown_id)
    image = bev_picture(labels, GRID, MAP, CAPTION).image
    assert not (bev_labels(labels, MAP) == MAP.free_id).any()
    top, left = 90, 120
    area = image[top : top + 300, left : left + 300]
    assert not (area == FREE).all(-1).any()
    assert (area == UNKNOWN).all(-1).any()
    # One unknown voxel suffices: nobody looked there.
    labels = volume()
    labels[10, 20, 3] = MAP.unknown_id
    columns = bev_labels(labels, MAP)
    assert columns[10, 20] == MAP.unknown_id
    assert (columns == MAP.free_id).sum() == columns.size - 1


def test_legend_has_the_classes_that_are_there_and_no_others():
    with_sign = bev_picture(volume(traffic_sign=PLACE_M), GRID, MAP, CAPTION)
    without = bev_picture(volume(car=PLACE_M), GRID, MAP, CAPTION)
    legend = with_sign.pixel_of((0, GRID.origin_m[1], 0))[0] + 10
    assert pixels_of(with_sign.image[:, legend:], MARK_RGB)[0].size > 50
    assert pixels_of(without.image[:, legend:], MARK_RGB)[0].size == 0


def test_occupancy_grid_has_the_same_orientation():
    cells = np.full((128, 128), 0, np.int8)  # rows along y, columns along x, as in the message
    row, column = round((PLACE_M[1] + 12.8 - 0.1) / 0.2), round((PLACE_M[0] - 0.1) / 0.2)
    cells[row, column] = 100
    cells[0, 0] = -1  # nearest, rightmost
    picture = grid_picture(cells, 0.2, (0.0, -12.8), "velodyne", CAPTION)
    u, v = in_map(picture.image, BLOCKED, picture)
    assert (u.mean(), v.mean()) == pytest.approx(picture.pixel_of(PLACE_M), abs=1)
    assert u.mean() < pixels_of(picture.image, ROBOT)[0].mean() - 50
    corner = picture.pixel_of((0.1, -12.7, 0))
    patch = picture.image[corner[1] - 1 : corner[1] + 2, corner[0] - 1 : corner[0] + 2]
    assert not (patch == FREE).all(-1).any()


def test_voxel_view_shows_the_marked_voxel_in_its_place():
    labels = volume(traffic_sign=PLACE_M)
    index, _ = GRID.index_of(PLACE_M)
    picture = voxel_picture(labels, GRID, MAP, CAPTION)
    top_m = GRID.center_of(index) + np.array([0, 0, 0.1])
    u, v = pixels_of(picture.image[:, :990], MARK_RGB, 60)
    assert len(u) >= 4
    assert (u.mean(), v.mean()) == pytest.approx(picture.pixel_of(top_m), abs=4)
    mirrored = picture.pixel_of((top_m[0], -top_m[1], top_m[2]))
    ahead = picture.pixel_of((top_m[0] + 5, top_m[1], top_m[2]))
    above = picture.pixel_of((top_m[0], top_m[1], top_m[2] + 1))
    assert mirrored[0] > u.mean() + 50  # left is left
    assert ahead[1] < v.mean() - 20  # ahead is up
    assert above[1] < v.mean() - 5 and above[0] == pytest.approx(u.mean(), abs=4)


@pytest.mark.parametrize(("wall_x_m", "is_seen"), [(11.5, False), (13.1, True)])
def test_voxel_view_hides_what_is_behind_a_wall(wall_x_m, is_seen):
    labels = volume(traffic_sign=PLACE_M)
    (column, _, _), _ = GRID.index_of((wall_x_m, 0, 0))
    labels[column, :, :] = MAP.id_of("building")
    image = voxel_picture(labels, GRID, MAP, CAPTION).image[:, :990]
    assert (pixels_of(image, MARK_RGB, 90)[0].size > 0) == is_seen


def test_voxel_view_leaves_no_holes_in_a_floor():
    labels = volume()
    labels[:, :, 0] = MAP.id_of("terrain")
    picture = voxel_picture(labels, GRID, MAP, CAPTION)
    corners = [picture.pixel_of((x, y, -1.8)) for x, y in ((6, 3), (6, -3), (12, 3), (12, -3))]
    (u0, v0), (u1, v1) = np.min(corners, 0), np.max(corners, 0)
    assert (u1 - u0) * (v1 - v0) > 5000
    inner = picture.image[v0:v1, u0:u1].astype(int)
    green = np.array([150, 240, 80])
    assert (inner <= green + 2).all() and (inner >= 0.75 * green).all()


def test_unknown_is_not_drawn_in_the_voxel_view_but_counted():
    free = voxel_picture(volume(), GRID, MAP, CAPTION).image
    unknown = voxel_picture(volume(fill=MAP.unknown_id), GRID, MAP, CAPTION).image
    assert np.array_equal(free[:, :960], unknown[:, :960])
    assert not np.array_equal(free, unknown)


def test_ids_outside_of_the_map_are_named():
    labels = volume()
    labels[3, 3, 3] = 77
    assert 77 in bev_labels(labels, MAP)
    bev_picture(labels, GRID, MAP, CAPTION)
    voxel_picture(labels, GRID, MAP, CAPTION)


def test_other_shapes_are_refused():
    labels = np.zeros((4, 4, 4), np.uint8)
    for picture in (bev_picture, voxel_picture):
        with pytest.raises(PredictionError, match="shape"):
            picture(labels, GRID, MAP, CAPTION)


def test_caption_states_system_stamp_and_weights():
    title, line = CAPTION.lines("bird's-eye view")
    assert title == "vlscene: bird's-eye view"
    assert "1893456000.300000000" in line and "2030-01-01" in line and "weights: random" in line
    assert stamp_text(1_500_000_000) == "stamp 1.500000000 s"


def test_input_and_sheet_keep_the_images():
    left, right = np.full((60, 300, 3), 10, np.uint8), np.full((60, 300, 3), 200, np.uint8)
    pair = input_picture(left, right, CAPTION)
    (u_left, _), (u_right, _) = (pixels_of(pair.image, (c,) * 3) for c in (10, 200))
    assert len(u_left) >= left.size // 3 and len(u_right) >= right.size // 3
    assert u_left.max() < u_right[u_right > 320].min()
    wide = contact_sheet([[pair], [pair, pair]], "Demo").image
    assert wide.shape[1] == 2 * pair.image.shape[1]
    assert (wide == 10).all(-1).sum() > 2 * left.size // 3


def test_hatch_is_made_of_two_greys():
    colors = {tuple(c) for c in hatch(20, 20).reshape(-1, 3).tolist()}
    assert len(colors) == 2 and FREE not in colors
