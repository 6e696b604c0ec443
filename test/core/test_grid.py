"""Grids: index and metre."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from occ_perception.core.errors import ConfigError
from occ_perception.core.grid import GridSpec, cubic_size_m

KITTI = GridSpec((0.0, -25.6, -2.0), (0.2, 0.2, 0.2), (256, 256, 32), "velodyne")


@given(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 31)))
def test_center_of_an_index_falls_back_into_that_index(index):
    found, inside = KITTI.index_of(KITTI.center_of(index))
    assert inside
    assert tuple(found) == index


def test_axes_are_x_forward_y_left_z_up():
    index, inside = KITTI.index_of([10.1, 5.1, -1.9])
    assert inside
    assert index.tolist() == [50, 153, 0]


def test_points_outside_and_not_finite_are_not_inside():
    _, inside = KITTI.index_of([[-0.01, 0, 0], [51.21, 0, 0], [np.nan, 0, 0], [1, 0, np.inf]])
    assert not inside.any()


def test_centers_agree_with_center_of():
    small = GridSpec((1.0, 2.0, 3.0), (0.5, 1.0, 2.0), (2, 3, 4), "base")
    centers = small.centers().numpy()
    assert centers.shape == (2, 3, 4, 3)
    assert np.allclose(centers[1, 2, 3], small.center_of([1, 2, 3]))


def test_slab_takes_layers_by_their_centres():
    band = KITTI.slab(-1.45, 0.45)
    heights = KITTI.axis_centers(2)[band]
    assert heights.min() >= -1.45
    assert heights.max() <= 0.45
    assert len(heights) == 9


def test_slab_without_a_layer_names_the_cure():
    with pytest.raises(ConfigError, match="max_height_m"):
        KITTI.slab(10.0, 12.0)


@pytest.mark.parametrize(
    ("origin", "size", "shape"),
    [
        ((0, 0, float("nan")), (1, 1, 1), (1, 1, 1)),
        ((0, 0, 0), (1, 0, 1), (1, 1, 1)),
        ((0, 0, 0), (1, 1, 1), (1, 0, 1)),
    ],
)
def test_impossible_grids_are_refused(origin, size, shape):
    with pytest.raises(ConfigError):
        GridSpec(origin, size, shape, "base")


def test_cubic_size_refuses_bricks():
    assert cubic_size_m(KITTI) == 0.2
    with pytest.raises(ConfigError, match="cubes"):
        cubic_size_m(GridSpec((0, 0, 0), (0.2, 0.2, 0.4), (1, 1, 1), "base"))
