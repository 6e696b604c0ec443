"""What lines of sight say about voxels, in scenes that can be checked by eye."""

import numpy as np
import pytest

from occ_perception.core.grid import GridSpec
from occ_training.data.pixel_sight import PixelRays, PixelSightSpec, draw_sight, pixel_rays

GRID = GridSpec((0.0, -20.0, -9.0), (0.4, 0.4, 0.4), (100, 100, 50), "base_link")
K = np.array([[20.0, 0, 20], [0, 20, 10], [0, 0, 1]])
CAR, ROAD, HEIGHT_M = 4, 11, 1.5
# A camera above the ground that looks along x.
POSE = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, HEIGHT_M], [0, 0, 0, 1]])


def seen(given, **changes):
    """Centres, what is known of each of them, and what it counts."""
    spec = PixelSightSpec(**{"rays": 2000, **changes})
    known = draw_sight(given, GRID, spec, np.random.RandomState(0)).known()
    cells = np.stack(np.unravel_index(known.voxels.numpy(), GRID.shape), axis=-1)
    centres = np.array(GRID.origin_m) + (cells + 0.5) * GRID.voxel_size_m
    return centres, known.labels.numpy(), known.free.numpy(), known.weights.numpy()


def wall(depth_m=10.0):
    depth = np.full((20, 40), depth_m, np.float32)
    return pixel_rays(depth, np.full((20, 40), CAR), K, POSE)


def ground():
    v = np.arange(20)[:, None] + 0.5
    depth = np.where(v > 10, HEIGHT_M * 20 / (v - 10), 0) * np.ones((1, 40))
    return pixel_rays(depth.astype(np.float32), np.full((20, 40), ROAD), K, POSE)


def test_rays_end_where_pixels_are():
    rays = wall()
    rays = rays.points(rays.length_m[:, None]).reshape(20, 40, 3)
    assert rays[..., 0] == pytest.approx(10.0)
    assert rays[0, 0].tolist() == pytest.approx([10, 9.75, HEIGHT_M + 4.75])  # up on the left
    assert wall().origins[0].tolist() == [0, 0, HEIGHT_M]


def test_nothing_is_before_a_wall_and_something_in_it():
    centres, labels, free, _ = seen(wall(), thickness_m=1.0)
    along = centres[:, 0]
    assert (along[free] < 10 + 0.2).all() and (along[free] < 5).sum() > 50
    assert (along[~free] > 10 - 0.2).all() and (along[~free] < 11 + 0.2).all()
    assert (labels == CAR).all()


def test_space_counts_by_its_volume():
    """As where scores are taken: of the voxels that cameras see few are near the car."""
    rays = wall(12.0)
    centres, _, free, weights = seen(rays, rays=20_000, thickness_m=0.8)
    pyramid, front = rays.length_m.mean() / 3, 0.8  # metres of the base's area
    assert weights[free].sum() / weights[~free].sum() == pytest.approx(pyramid / front, rel=0.1)
    first_half = free & (centres[:, 0] < 6)
    assert weights[first_half].sum() / weights[free].sum() == pytest.approx(1 / 8, rel=0.25)


def test_rays_that_graze_the_ground_leave_its_voxels_alone():
    centres, _, free, _ = seen(ground())
    layer = centres[:, 2].round(1)
    assert set(layer[~free]) <= {0.0, -0.4, 0.4}
    assert layer[free].min() > layer[~free].min()
    walls = ground()._replace(classes=np.full(800, CAR))
    centres, _, free, _ = seen(walls)
    assert centres[free, 2].min() < 0.3  # any other surface is passed down to its end


def test_further_pixels_are_taken_by_the_area_they_see():
    near, far = wall(6.0), wall(12.0)
    both = PixelRays(*(np.concatenate(parts) for parts in zip(near, far, strict=True)))
    labels = np.repeat([1, 2], 800)
    _, found, free, _ = seen(both._replace(classes=labels), rays=20_000)
    assert (found[~free] == 2).sum() > 2.5 * (found[~free] == 1).sum()


def test_pixels_without_depth_look_through_the_grid():
    centres, _, free, _ = seen(wall(0.0), rays=500)
    assert free.all() and centres[:, 0].max() > 38
    blind = PixelSightSpec(rays=50, sky=False)
    nothing = draw_sight(wall(0.0), GRID, blind, np.random.RandomState(0))
    assert len(nothing.voxels) == len(nothing.free) == 200
    assert not len(nothing.known().voxels)


def test_what_is_too_far_has_no_place_but_a_free_way_to_it():
    _, _, free, _ = seen(wall(30.0), furthest_m=20.0)
    assert free.all()


def test_from_outside_nothing_is_known():
    away = wall()._replace(origins=wall().origins + np.array([0, 50, 0]))
    assert not len(draw_sight(away, GRID, PixelSightSpec(), np.random.RandomState(0)).known().free)
