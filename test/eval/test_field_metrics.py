"""Metrics of the field systems on inputs whose answer is known."""

import math

import pytest
import torch

from occ_perception.core.errors import PredictionError
from occ_perception.eval.depth_metrics import depth_scores
from occ_perception.eval.lidar_occupancy import (
    first_judged_row,
    object_cells,
    occupancy_scores,
    range_profile,
    slice_truth,
)
from occ_perception.eval.segmentation_metrics import SegmentationMetric, assign_clusters
from occ_perception.eval.sscbench import (
    SscBenchMetric,
    field_of_view,
    labels_of_field,
    labels_of_raw,
    voxel_centres_in_camera,
)
from occ_perception.eval.voxel_occupancy import (
    inside_boxes,
    invalidate_underground,
    next_labelled,
    visible_voxels,
)
from occ_perception.voxels.density import grow


def test_perfect_depth_scores_perfectly_and_scale_is_found():
    truth = torch.rand(10, 12) * 50 + 2
    truth[0] = 0
    perfect = depth_scores(truth.clamp(min=1), truth)
    assert perfect.abs_rel == 0 and perfect.a1 == 1
    assert depth_scores(truth / 3 + 1e-6, truth, "median").abs_rel == pytest.approx(0, abs=1e-4)
    affine = depth_scores(truth / 2 - 0.5, truth, "least_squares")
    assert affine.abs_rel == pytest.approx(0, abs=1e-4)


def test_depth_without_truth_is_an_error():
    with pytest.raises(PredictionError, match="no pixel"):
        depth_scores(torch.ones(4, 4), torch.zeros(4, 4))


def test_occupancy_scores_count_hidden_cells():
    predicted = torch.tensor([True, False, True, False])
    occupied = torch.tensor([True, True, False, False])
    visible = torch.tensor([True, False, False, False])
    scores = occupancy_scores(predicted, occupied, visible)
    assert scores == pytest.approx((0.5, 1 / 3, 0.5))
    everything_seen = occupancy_scores(predicted, occupied, torch.ones(4, dtype=torch.bool))
    assert math.isnan(everything_seen.invisible_accuracy)


def test_rows_are_judged_from_twenty_before_the_first_visible():
    visible = torch.zeros(60, 4, dtype=torch.bool)
    assert first_judged_row(visible) is None
    visible[35, 2] = True
    assert first_judged_row(visible) == 15


def test_object_boxes_grow_and_end_one_short_on_the_far_side():
    labels = torch.zeros(160, 80, dtype=torch.uint8)
    labels[100, 40] = 3
    labels[0, 0] = 255
    rows, columns = object_cells(labels).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (80, 119, 35, 44)


def test_a_ring_of_lidar_points_occupies_what_is_behind_it():
    angle = torch.linspace(-math.pi, math.pi, 721)
    ring = torch.stack([10 * angle.cos(), 10 * angle.sin(), -0.3 * torch.ones(721)], dim=1)
    level_from_velo = torch.tensor(
        [[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    )  # x right, y down, z forward
    assert range_profile(ring, level_from_velo).distance_m.sub(10).abs().max() < 1e-4
    points = torch.tensor([[0.0, 0.375, 6.0], [0.0, 0.375, 14.0], [0.0, 0.375, 1.0]])
    truth = slice_truth([ring] * 4, level_from_velo.expand(4, 4, 4), points)
    assert truth.occupied.tolist() == [False, True, True]
    assert truth.visible.tolist() == [True, False, False]


def test_more_clusters_than_classes_take_what_suits_them():
    confusion = torch.tensor([[90, 0, 80, 0], [0, 70, 5, 1]])
    assert assign_clusters(confusion).tolist() == [0, 1, 0, 1]
    with pytest.raises(PredictionError, match="cannot cover"):
        assign_clusters(confusion.T)


def test_renamed_classes_score_perfectly_without_supervision():
    truth = torch.arange(19).repeat(5)
    metric = SegmentationMetric()
    metric.update((truth + 7) % 19, truth)
    assert metric.unsupervised().miou == 1 and metric.supervised().miou == 0


def test_ignored_pixels_do_not_count():
    metric = SegmentationMetric(2)
    metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, -1, 1]))
    assert metric.confusion.sum() == 2 and metric.supervised().accuracy == 1


def test_empty_voxels_below_the_street_are_invalid():
    labels = torch.zeros(1, 2, 4, dtype=torch.uint8)
    labels[0, 0, 2] = 7
    assert invalidate_underground(labels)[0].tolist() == [[255, 255, 7, 0], [255] * 4]
    assert invalidate_underground(labels, layers=1)[0].tolist() == [[255, 0, 7, 0], [255, 0, 0, 0]]


def test_rays_stop_at_the_first_occupied_voxel():
    occupied = torch.zeros(10, 1, 1, dtype=torch.bool)
    occupied[4] = True
    K = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    T = torch.tensor([[0.0, 0, 1, 0.1], [1, 0, 0, 0.1], [0, 1, 0, 0.1], [0, 0, 0, 1]])
    assert visible_voxels(occupied, K, (1, 1), T)[:, 0, 0].tolist() == [True] * 4 + [False] * 6


def test_boxes_turn_with_their_axes():
    turned = torch.tensor([[[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]])
    points = torch.tensor([[0.0, 0, 1.9], [1.9, 0, 0]])
    sizes = torch.tensor([[4.0, 1, 1]])
    assert inside_boxes(points, torch.zeros(1, 3), sizes, turned)[0].tolist() == [True, False]


def test_the_next_labelled_frame_is_taken():
    assert next_labelled(6, [5, 10, 15]) == 10
    with pytest.raises(PredictionError, match="after frame 16"):
        next_labelled(16, [5, 10, 15])


def test_growing_reaches_all_neighbours():
    density = torch.zeros(5, 5, 5)
    density[2, 2, 2] = 1
    assert int(grow(density).sum()) == 27


def test_a_right_field_scores_perfectly_in_every_range():
    raw = torch.zeros(256, 256, 32, dtype=torch.long)
    raw[:, :, 0] = 7  # road
    raw[40:60, 100:110, 1:9] = 11  # a building
    truth = labels_of_raw(raw)
    classes = torch.where(raw == 11, 2, 0)
    density = (raw > 0).float()
    metric = SscBenchMetric(field_of_view(voxel_centres_in_camera()))
    metric.update(torch.where(raw > 0, labels_of_field(density, classes), 0), truth)
    for results in (metric.direct(), metric.hungarian()):
        for result in results.values():
            assert result.completion.iou == 1
            assert result.completion.class_iou[7] == pytest.approx(1, abs=1e-6)
