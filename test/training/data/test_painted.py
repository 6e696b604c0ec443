"""LiDAR points and voxels as cameras see them."""

import numpy as np

from occ_perception.core.grid import GridSpec
from occ_training.data.painted import paint, painted_drive, seen_voxels
from occ_training.world.classes import Class, lookup

GRID = GridSpec((-40.0, -40.0, -1.0), (0.4, 0.4, 0.4), (200, 200, 16), "base_link")
ROAD = int(lookup("cityscapes")[Class.ROAD])


def test_points_are_named_by_the_pixels_that_see_them(street):
    sweeps = painted_drive(street, named=False).sweeps
    points = sweeps.sweeps[0].ends + sweeps.start
    classes = paint(street, 0, points)
    on_road = (points - street.T_world_ego(0)[:3, 3])[classes == ROAD, 2]
    assert len(on_road) > 300 and np.mean(np.abs(on_road) < 0.3) > 0.95
    assert not paint(street, 0, points + np.array([0, 0, 500])).any()  # no camera looks up there


def test_what_cameras_see_is_nearly_the_mask_of_the_truth(street):
    mask = street.layer("mask", 1).known
    seen = seen_voxels(street, 1, GRID)
    assert (seen & mask).sum() / (seen | mask).sum() > 0.75
