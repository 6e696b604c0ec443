"""Retrieval of points by words."""

import math

import pytest
import torch

from occ_perception.core.errors import PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.eval.retrieval import average_precision, score_points
from occ_perception.eval.retrieval_set import key_frames_until

GRID = GridSpec((-4.0, -4.0, -1.0), (1.0, 1.0, 1.0), (8, 8, 2), "base_link")


def test_the_history_is_made_of_key_frames_not_of_sweeps():
    scans = list(range(0, 2_000_000_001, 50_000_000))
    assert key_frames_until(scans, 1_500_000_000, 2) == [500_000_000, 1_000_000_000, 1_500_000_000]
    assert key_frames_until(scans, 600_000_000, 2) == [100_000_000, 600_000_000]
    keys = [10, 505_000_000, 1_000_000_000]
    assert key_frames_until(keys, keys[-1], 2) == keys
    assert key_frames_until(keys, keys[0], 2) == keys[:1]


def test_a_marked_voxel_answers_at_its_centre():
    vectors = torch.zeros(*GRID.shape, 2)
    vectors[..., 1] = 1
    vectors[6, 2, 1] = torch.tensor([1.0, 0.0])
    points = torch.tensor([[2.5, -1.5, 0.5], [-1.5, 2.5, 0.5], [9.0, 0, 0]])
    found = score_points(vectors, points, torch.tensor([1.0, 0.0]), GRID)
    assert found.inside.tolist() == [True, True, False]
    assert found.scores[:2].tolist() == pytest.approx([1.0, 0.5])
    assert math.isnan(float(found.scores[2]))


def test_average_precision_of_a_known_ranking():
    relevant = torch.tensor([True, False, True, False])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert average_precision(scores, relevant) == pytest.approx((1 + 2 / 3) / 2)


def test_equal_scores_are_one_threshold():
    relevant = torch.tensor([True, False, False, True])
    assert average_precision(torch.full((4,), 0.5), relevant) == pytest.approx(0.5)


def test_nothing_relevant_is_an_error():
    with pytest.raises(PredictionError, match="relevant"):
        average_precision(torch.rand(3), torch.zeros(3, dtype=torch.bool))
