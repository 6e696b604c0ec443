"""Label files of SemanticKITTI."""

import numpy as np
import pytest

from occ_perception.core.errors import OccError
from occ_training.data.semantickitti_labels import (
    GRID_SHAPE,
    coarser_labels,
    point_table,
    unpack_bits,
    voxel_labels,
    voxel_table,
)


def test_tables_differ_only_in_what_unlabelled_means():
    points, voxels = point_table(), voxel_table()
    assert points[[0, 1, 10, 252, 99, 7]].tolist() == [0, 0, 1, 1, 0, 0]
    assert voxels[[0, 1, 10, 252, 99, 7]].tolist() == [0, 255, 1, 1, 255, 255]
    assert (points[points != 0] == voxels[points != 0]).all()


def test_first_voxel_is_the_most_significant_bit():
    packed = np.zeros(np.prod(GRID_SHAPE) // 8, np.uint8)
    packed[0] = 0b01000000
    assert np.argwhere(unpack_bits(packed)).tolist() == [[0, 0, 1]]
    with pytest.raises(OccError, match="100 bytes"):
        unpack_bits(packed[:100])


def test_invalid_voxels_do_not_count():
    raw = np.full(GRID_SHAPE, 40, np.uint16)
    invalid = np.zeros(GRID_SHAPE, np.bool_)
    invalid[1, 2, 3] = True
    labels = voxel_labels(raw, invalid)
    assert labels[1, 2, 3] == 255
    assert (labels == 9).sum() == labels.size - 1


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 7], 7),  # one labelled voxel of eight is enough
        ([0, 0, 0, 0, 255, 255, 255, 0], 0),
        ([255, 255, 255, 255, 255, 0, 0, 0], 255),
        ([0, 0, 0, 0, 255, 255, 255, 255], 255),
        ([5, 5, 3, 3, 9, 0, 0, 0], 3),  # a tie goes to the smallest id
    ],
)
def test_blocks_of_two(block, expected):
    labels = np.array(block, np.uint8).reshape(2, 2, 2)
    assert coarser_labels(labels, 2).tolist() == [[[expected]]]


def test_blocks_keep_their_place():
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[2, 5, 1] = 4
    assert np.argwhere(coarser_labels(labels, 2)).tolist() == [[1, 2, 0]]
