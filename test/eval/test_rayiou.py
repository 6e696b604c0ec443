"""Rays through voxels whose answer can be worked out by hand."""

import numpy as np
import pytest
import torch

from occ_perception.core.grid import GridSpec
from occ_perception.eval.rayiou import FREE, RayIoU, cast_rays, ray_directions, ray_origins
from occ_perception.geometry.transforms import transform

GRID = GridSpec((-4.0, -4.0, -1.0), (0.5, 0.5, 0.5), (16, 16, 4), "base_link")


def empty():
    return torch.full(GRID.shape, FREE)


def cast(labels, direction, origin=(0.1, 0.1, 0.1)):
    direction = torch.nn.functional.normalize(torch.tensor([direction]), dim=-1)
    hits = cast_rays(labels, torch.tensor([origin], dtype=torch.float64), direction, GRID)
    return int(hits.labels[0]), float(hits.distances_m[0])


def test_the_first_occupied_voxel_answers_with_the_distance_to_its_far_side():
    labels = empty()
    labels[12, 8, 2], labels[14, 8, 2] = 4, 7
    assert cast(labels, [1.0, 0, 0]) == (4, pytest.approx(2.4))


def test_the_voxel_around_the_origin_counts():
    labels = empty()
    labels[8, 8, 2] = 3
    assert cast(labels, [-1.0, 0, 0]) == (3, pytest.approx(0.1))


def test_a_ray_that_meets_nothing_ends_at_the_border():
    assert cast(empty(), [0.0, -1.0, 0]) == (FREE, pytest.approx(4.1))


def test_a_ray_beside_the_grid_never_enters():
    label, distance = cast(empty(), [1.0, 0, 0], origin=(0.0, 9.0, 0.0))
    assert (label, distance) == (FREE, pytest.approx(-0.5))


def test_a_diagonal_ray_visits_every_voxel_it_crosses():
    for voxel in ((9, 8, 2), (9, 9, 2), (10, 9, 2)):
        labels = empty()
        labels[voxel] = 5
        assert cast(labels, [1.0, 0.6, 0.0])[0] == 5


def test_the_scan_has_39_elevations_and_unit_directions():
    directions = ray_directions()
    assert directions.shape == (39 * 360, 3)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(39 * 360))
    assert float(directions[0, 2]) == pytest.approx(-np.sqrt(0.5))


def test_origins_are_those_nearby_and_at_most_eight():
    lidars = [transform([5.0 * i, 0, 2]) for i in range(20)]
    origins = ray_origins(lidars, transform([20.0, 0, 0]), transform([0.0, 0, 2]))
    assert len(origins) == 8
    assert origins[0].tolist() == pytest.approx([-20, 0, 2])
    assert float(origins[-1, 0]) == pytest.approx(35)


def test_scores_forgive_distance_up_to_the_threshold():
    truth, answer = empty(), empty()
    truth[12], answer[15] = 4, 4  # a wall, 1.5 m too far away for most rays
    metric = RayIoU(GRID)
    metric.update(answer, truth, torch.tensor([[0.1, 0.1, 0.1]], dtype=torch.float64))
    at_1, at_2, at_4 = metric.result().class_iou[:, 4].tolist()
    assert at_1 < at_2 < at_4
    assert metric.rays > 0
    perfect = RayIoU(GRID)
    perfect.update(truth, truth, torch.tensor([[0.1, 0.1, 0.1]], dtype=torch.float64))
    assert perfect.result().mean == 1
