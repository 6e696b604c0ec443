"""What beams say about voxels, on a street whose truth is known."""

import numpy as np
import pytest

from occ_perception.core.grid import GridSpec
from occ_perception.systems.roles import SURROUND_CAMERAS
from occ_training.data.bag_scene import Bags
from occ_training.data.beam_sight import (
    BeamSight,
    BeamSightSpec,
    lidar_points,
    named_voxels,
    paint,
    seen_voxels,
)
from occ_training.data.surround import SurroundDrive, SurroundSpec
from occ_training.world.classes import Class, lookup

GRID = GridSpec((-40.0, -40.0, -1.0), (0.4, 0.4, 0.4), (200, 200, 16), "base_link")
SPEC = BeamSightSpec(occupied=300, free=500)
ROAD = int(lookup("cityscapes")[Class.ROAD])


@pytest.fixture(scope="module")
def drive(surround_bag):
    maps = {
        "classes": "/ground_truth/{camera}/semantic/compressed",
        "depth": "/ground_truth/{camera}/depth",
    }
    layers = {
        "lidar": "/lidar_top/points",
        "truth": "/ground_truth/voxels",
        "mask": "/ground_truth/camera_mask",
    }
    return SurroundDrive(Bags(surround_bag), SurroundSpec(SURROUND_CAMERAS, maps, layers))


def drawn(drive, then, now, moving=(), weight=1.0, **changes):
    spec = BeamSightSpec(**{"occupied": 300, "free": 500, "moving": weight, **changes})
    sight = BeamSight(spec, GRID, moving)
    return sight.draw(drive, then, now, np.random.RandomState(0))


def heights(voxels):
    return GRID.origin_m[2] + (voxels.numpy() % GRID.shape[2] + 0.5) * GRID.voxel_size_m[2]


def test_points_are_named_by_the_pixels_that_see_them(drive):
    points = lidar_points(drive, 0)
    T = drive.T_world_ego(0) @ points.T_base_sensor
    world = points.xyz @ T[:3, :3].T + T[:3, 3]
    classes = paint(drive, 0, world)
    on_road = (world - drive.T_world_ego(0)[:3, 3])[classes == ROAD, 2]
    assert len(on_road) > 300 and np.mean(np.abs(on_road) < 0.3) > 0.95
    assert not paint(drive, 0, world + np.array([0, 0, 500])).any()  # no camera looks up there


def test_a_voxel_has_the_name_of_most_of_its_points():
    xyz = np.array([[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.3, 0.1, 0.1], [0.9, 0.1, 0.1], [99, 0, 0]])
    found = named_voxels(xyz, np.array([4, 4, 7, 0, 3]), np.eye(4), GRID)
    cells = np.stack(np.unravel_index(found.voxels, GRID.shape), axis=1)
    assert cells.tolist() == [[100, 100, 2], [102, 100, 2]] and found.labels.tolist() == [4, 0]
    one = named_voxels(xyz[:2], np.array([0, 5]), np.eye(4), GRID)
    assert one.labels.tolist() == [5]  # a point without a name has no say
    moved = np.eye(4)
    moved[:3, 3] = 0.8, 0, 0
    there = named_voxels(xyz[:1], np.array([4]), moved, GRID)
    assert np.unravel_index(there.voxels[0], GRID.shape) == (98, 100, 2)


def test_what_cameras_see_is_nearly_the_mask_of_the_truth(drive):
    mask = drive.layer("mask", 1).known
    seen = seen_voxels(drive, 1, GRID)
    assert (seen & mask).sum() / (seen | mask).sum() > 0.75


def test_beams_end_in_things_and_pass_through_air(drive):
    truth = drive.layer("truth", 1).labels.reshape(-1)
    sight = drawn(drive, 1, 1)
    assert len(sight.voxels) == 800 and (sight.voxels >= 0).all()
    is_air = truth[sight.voxels] == 17
    assert is_air[sight.free.numpy()].mean() > 0.9
    assert is_air[~sight.free.numpy()].mean() < 0.3


def test_space_counts_by_its_volume_and_things_more(drive):
    plain, bold = (drawn(drive, 1, 1, boldness=boldness) for boldness in (1.0, 3.0))
    free = plain.weights[plain.free].sum() / plain.weights[~plain.free].sum()
    assert 3 < free < 30  # a street is mostly air
    assert bold.weights[~bold.free].sum() == pytest.approx(3 * plain.weights[~plain.free].sum())
    more = drawn(drive, 1, 1, boldness=1.0, free=1000)
    assert more.weights[more.free].sum() == pytest.approx(plain.weights[plain.free].sum())


def test_what_can_move_is_believed_at_its_own_time_alone(drive):
    """As if roads could: of other times nothing else is asked for."""
    other = drawn(drive, 0, 1, moving=(ROAD,))
    taken = other.voxels[~other.free & (other.voxels >= 0)]
    assert len(taken) > 100 and np.mean(np.abs(heights(taken)) < 0.5) > 0.9
    assert set(other.labels[: SPEC.occupied][other.voxels[: SPEC.occupied] >= 0].tolist()) == {ROAD}
    heavy = drawn(drive, 0, 1, moving=(ROAD,), weight=5.0)
    assert heavy.weights.sum() == pytest.approx(5 * other.weights.sum())
    nothing = drawn(drive, 0, 1)
    assert not (nothing.voxels >= 0).any()
    now, still = (drawn(drive, 1, 1, moving, occupied=10**5) for moving in ((ROAD,), ()))
    roads = [(known.labels == ROAD).sum() for known in (now, still)]
    assert 0 < roads[0] < 0.8 * roads[1]  # those of one sweep instead of two


def test_the_same_randomness_draws_the_same(drive):
    first, again = (drawn(drive, 1, 1) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
