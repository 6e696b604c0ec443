"""LiDAR depth maps with the published rules for points that meet."""

import numpy as np

from occ_perception.core.cityscapes import bdd100k_train_ids, kitti360_train_ids
from occ_perception.eval.depth_maps import kitti360_depth, kitti_raw_depth

SIZE = (4, 6)
IDENTITY = np.hstack([np.eye(3), np.zeros((3, 1))])


def at(row, column, depth):
    """A point of the normalised camera that falls on a pixel."""
    u, v = 2 * column / SIZE[1] - 1, 2 * row / SIZE[0] - 1
    return [u * depth, v * depth, depth]


def test_the_nearest_of_meeting_points_wins_and_behind_is_zero():
    points = np.array([at(1, 2, 9.0), at(1, 2, 4.0), at(1, 2, 7.0), at(2, 3, 5.0), at(0, 1, -3.0)])
    depth = kitti360_depth(points, IDENTITY, SIZE)
    assert depth[1, 2] == 4 and depth[2, 3] == 5 and np.count_nonzero(depth) == 2


def test_the_end_of_a_row_meets_the_start_of_the_next():
    points = np.array([at(1, 5, 8.0), at(2, 0, 3.0)])
    depth = kitti360_depth(points, IDENTITY, SIZE)
    assert depth[1, 5] == 3 and depth[2, 0] == 3  # the first gets the minimum of both


def test_no_points_no_depth():
    assert not kitti360_depth(np.zeros((0, 3)), IDENTITY, SIZE).any()


def test_kitti_raw_keeps_the_crop_and_what_is_ahead():
    P = np.array([[100.0, 0, 600, 0], [0, 100, 200, 0], [0, 0, 1, 0]])
    turned = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    points = np.array([[10.0, 0, 0], [10.0, 0, 15], [-10.0, 0, 0], [200.0, 0, 0]])
    depth = kitti_raw_depth(points, P @ turned, (375, 1242))
    assert depth[199, 599] == 10 and np.count_nonzero(depth) == 1


def test_ids_without_a_class_are_ignored():
    ids = np.array([7, 26, 34, 5, -1, 200])
    assert kitti360_train_ids(ids).tolist() == [0, 13, 2, -1, -1, -1]
    assert bdd100k_train_ids(np.array([35, 0])).tolist() == [13, -1]
