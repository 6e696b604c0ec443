"""Which cells a drive's beams tell of, and how they are drawn."""

import dataclasses

import numpy as np
import pytest

from occ_perception.core.errors import ConfigError
from occ_training.data.drive_sweeps import Sweep, drive_sweeps
from occ_training.data.samples import Points
from occ_training.data.sight import (
    SeenCells,
    SightSpec,
    cell_centres,
    cell_states,
    draw_cells,
    seen_cells,
)

SPEC = SightSpec(
    occupied=60,
    free=120,
    bands_m=(4.0,),
    free_shares=(0.75, 0.25),
    origin_m=(0.0, -4.0, -1.0),
    shape=(40, 40, 10),
)
K = np.diag([1.0, 1.0, 1.0])
# x forward, y left, z up -> x right, y down, z forward
T_CAM_SENSOR = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def sweep(ends, place=(0.0, 0.0, 0.1)):
    ends = np.array(ends, np.float32)
    return Sweep(np.broadcast_to(np.float32(place), ends.shape), ends)


def at(*xyz):
    return tuple(np.floor((np.array(xyz) - SPEC.origin_m) / SPEC.cell_m).astype(int))


def test_a_cell_that_one_sweep_passed_and_another_hit_is_occupied():
    wall, before = [7.1, 0.1, 0.1], [5.1, 0.1, 0.1]
    state = cell_states([sweep([wall] * 3), sweep([before])], np.eye(4), SPEC)
    assert state[at(*wall)] == 1 and state[at(*before)] == 1
    assert state[at(3.1, 0.1, 0.1)] == 0 and state[at(6.1, 0.1, 0.1)] == 0
    assert state[at(7.5, 0.1, 0.1)] == -1  # behind the wall
    assert (state == 1).sum() == 2


def test_cells_far_from_the_scanner_are_unknown_until_it_comes_closer():
    spec = dataclasses.replace(SPEC, reach_m=4.0)
    wall = [7.1, 0.1, 0.1]
    assert cell_states([sweep([wall])], np.eye(4), spec)[at(*wall)] == -1
    later = sweep([wall], place=(5.0, 0.0, 0.1))
    assert cell_states([sweep([wall]), later], np.eye(4), spec)[at(*wall)] == 1


def test_the_grid_stands_where_the_sensor_stands():
    moved = np.eye(4)
    moved[0, 3] = 2.0
    state = cell_states([sweep([[7.1, 0.1, 0.1]])], moved, SPEC)
    assert state[at(5.1, 0.1, 0.1)] == 1


def test_what_the_camera_does_not_see_is_left_out():
    state = np.full(SPEC.shape, -1, np.int8)
    state[at(3.1, 0.1, 0.1)], state[at(6.1, 0.1, 0.1)] = 1, 0
    state[at(1.1, 3.1, 0.1)] = 1  # too far left
    near, far = seen_cells(state, T_CAM_SENSOR, K, SPEC).occupied
    assert len(near) == 1 and len(far) == 0
    np.testing.assert_allclose(cell_centres(near, SPEC)[0], [3.1, 0.1, 0.1], atol=1e-9)
    free = seen_cells(state, T_CAM_SENSOR, K, SPEC).free
    assert [len(band) for band in free] == [0, 1]


def test_every_band_has_its_share_and_an_empty_one_is_not_known():
    near, far = (np.ravel_multi_index(at(x, 0.1, 0.1), SPEC.shape) for x in (3.1, 6.1))
    nothing = np.zeros(0, np.int32)
    cells = SeenCells(
        (np.int32([near]), nothing), (np.int32([near]), np.int32([far])), T_CAM_SENSOR
    )
    points, occupied, known = draw_cells(cells, SPEC, np.random.default_rng(0))
    assert points.shape == (1, 180, 3) and int(occupied.sum()) == 60
    assert int((known & occupied).sum()) == 30 and int((known & ~occupied).sum()) == 120
    z = points[0, known[0] & ~occupied[0], 2]
    assert sorted(set(z.round(decimals=2).tolist())) == pytest.approx([3.1, 6.1])
    assert int((z < 4).sum()) == 90
    with pytest.raises(ConfigError, match="1 borders make 2 bands, but sight has 4"):
        SightSpec(bands_m=(4.0,))


def test_points_of_a_moving_scanner_come_to_where_they_were(points_at):
    # 10 m/s; a point to the right of the scanner was measured a quarter of a turn after the stamp.
    points = [points_at(0.0, [[0.0, -5.0, 0.0]]), points_at(1.0, [[0.0, -5.0, 0.0]])]
    start, sweeps = drive_sweeps(points, spacing_m=2.0, turn_s=0.1)
    np.testing.assert_allclose(start, [0.0, 0.0, 0.0])
    np.testing.assert_allclose(sweeps[0].ends[0], [0.25, -5.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(sweeps[1].origins[0], [10.25, 0.0, 0.0], atol=1e-5)
    still = drive_sweeps(points, spacing_m=2.0, turn_s=0.0).sweeps[0]
    np.testing.assert_allclose(still.ends[0], [0.0, -5.0, 0.0])
    assert len(drive_sweeps(points, spacing_m=20.0, turn_s=0.1).sweeps) == 1


@pytest.fixture
def points_at():
    def make(time_s, xyz):
        T = np.eye(4)
        T[0, 3] = 10.0 * time_s
        columns = dict(zip("xyz", np.float32(xyz).T, strict=True))
        return Points(columns, int(time_s * 1e9), np.eye(4), T)

    return make
