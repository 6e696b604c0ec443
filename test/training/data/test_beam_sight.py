"""What beams say about voxels, on a street whose truth is known."""

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from occ_perception.core.grid import GridSpec
from occ_training.data.beam_sight import BeamSight, BeamSightSpec, named_voxels, stands
from occ_training.data.painted import paint, painted_drive
from occ_training.world.classes import Class, lookup

GRID = GridSpec((-40.0, -40.0, -1.0), (0.4, 0.4, 0.4), (200, 200, 16), "base_link")
SPEC = BeamSightSpec(occupied=300, free=500)
ROAD = int(lookup("cityscapes")[Class.ROAD])


def drawn(street, then, now, moving=(), weight=1.0, **changes):
    spec = BeamSightSpec(**{"occupied": 300, "free": 500, "moving": weight, **changes})
    sight = BeamSight(spec, GRID, moving)
    return sight.draw(street, then, now, np.random.RandomState(0))


def heights(voxels):
    return GRID.origin_m[2] + (voxels.numpy() % GRID.shape[2] + 0.5) * GRID.voxel_size_m[2]


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


def test_beams_end_in_things_and_pass_through_air(street):
    truth = street.layer("truth", 1).labels.reshape(-1)
    sight = drawn(street, 1, 1)
    assert len(sight.voxels) == 800 and (sight.voxels >= 0).all()
    is_air = truth[sight.voxels] == 17
    assert is_air[sight.free.numpy()].mean() > 0.9
    assert is_air[~sight.free.numpy()].mean() < 0.3


def test_space_counts_by_its_volume_and_things_more(street):
    plain, bold = (drawn(street, 1, 1, boldness=boldness) for boldness in (1.0, 3.0))
    free = plain.weights[plain.free].sum() / plain.weights[~plain.free].sum()
    assert 3 < free < 30  # a street is mostly air
    assert bold.weights[~bold.free].sum() == pytest.approx(3 * plain.weights[~plain.free].sum())
    more = drawn(street, 1, 1, boldness=1.0, free=1000)
    assert more.weights[more.free].sum() == pytest.approx(plain.weights[plain.free].sum())


def test_what_can_move_is_believed_at_its_own_time_alone(street):
    """As if roads could: of other times nothing else is asked for."""
    other = drawn(street, 0, 1, moving=(ROAD,))
    taken = other.voxels[~other.free & (other.voxels >= 0)]
    assert len(taken) > 100 and np.mean(np.abs(heights(taken)) < 0.5) > 0.9
    assert set(other.labels[: SPEC.occupied][other.voxels[: SPEC.occupied] >= 0].tolist()) == {ROAD}
    nothing = drawn(street, 0, 1)
    assert not (nothing.voxels >= 0).any()


def touched(voxels, box=3):
    among = np.zeros(GRID.shape, bool)
    among.reshape(-1)[voxels] = True
    return maximum_filter(among, box).reshape(-1)


def test_at_other_times_the_surroundings_of_what_passes_are_asked_for(street):
    other = drawn(street, 0, 1, moving=(ROAD,), occupied=10**5, free=10**6).known()
    left, taken = other.voxels[other.free].numpy(), other.voxels[~other.free].numpy()
    assert len(left) > 1000 and len(taken) > 100 and not np.isin(left, taken).any()
    places = GRID.centers().flatten(0, 2)[left]
    assert places[:, 2].max() < 1.0 and places[:, 2].std() > 0.2  # a road's surroundings are low
    now = drawn(street, 1, 1, moving=(ROAD,), occupied=10**5).known()
    stands = now.voxels[(now.labels != ROAD) & ~now.free]
    assert not np.isin(left, stands).any()


@pytest.mark.parametrize("then", [0, 1])
def test_beside_what_can_move_passing_proves_nothing(street, then):
    """Beams graze a car's roof and pass voxels of which it has a part."""
    known = drawn(street, then, 1, moving=(ROAD,), free=10**6).known()
    sweeps = painted_drive(street, named=False).sweeps
    points = sweeps.sweeps[then].ends + sweeps.start
    own = named_voxels(points, paint(street, then, points), street.T_world_ego(1), GRID)
    beside = touched(own.voxels[own.labels == ROAD])
    assert beside.any() and not beside[known.voxels[known.free]].any()
    believed = drawn(street, then, 1, free=10**6).known()
    assert then == 0 or beside[believed.voxels[believed.free]].sum() > 500


def test_what_can_move_counts_more(street):
    plain, heavy = (drawn(street, 1, 1, moving=(ROAD,), weight=weight) for weight in (1.0, 5.0))
    is_road = plain.labels == ROAD
    assert is_road.any() and not is_road.all()
    assert (heavy.weights[is_road] == 5 * plain.weights[is_road]).all()
    assert (heavy.weights[~is_road] == plain.weights[~is_road]).all()


def test_what_can_move_stands_where_beams_find_it_again_and_again():
    hit, entered = np.array([1, 2, 2, 5, 16]), np.array([1, 4, 5, 16, 16])
    assert stands(hit, entered).tolist() == [False, True, False, False, True]


def test_parked_things_are_collected_over_the_drive(street):
    """As if roads could move: those that beams of both key frames find are believed at both."""
    now, all_known = (
        drawn(street, 1, 1, moving, occupied=10**5, free=10**6) for moving in ((ROAD,), ())
    )
    found, every = (known.voxels[known.labels == ROAD] for known in (now, all_known))
    assert 0 < len(found) < len(every)
    T = street.T_world_ego(1)
    sweeps = painted_drive(street, named=False).sweeps
    points = sweeps.sweeps[1].ends + sweeps.start
    own = named_voxels(points, paint(street, 1, points), T, GRID)
    assert len(np.setdiff1d(found, own.voxels[own.labels == ROAD]))  # named at the other one


def test_the_same_randomness_draws_the_same(street):
    first, again = (drawn(street, 1, 1) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
