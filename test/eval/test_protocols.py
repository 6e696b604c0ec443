import numpy as np
import pytest
import torch

from occ_perception.core.errors import ConfigError, PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.eval.protocols import (
    SEMANTICKITTI,
    RangedMetric,
    find_protocol,
    within_range,
)
from occ_perception.eval.submission import find_predictions, read_prediction, write_prediction

GRID = GridSpec((0.0, -25.6, -2.0), (0.2,) * 3, (256, 256, 32), "velodyne")
COARSE = GridSpec((0.0, -25.6, -2.0), (3.2, 3.2, 3.2), (16, 16, 2), "velodyne")


def test_ranges_are_those_of_sscbench():
    """x >= 128, y < 64 and y >= 192 do not count at 25.6 m; x >= 64, y < 96, y >= 160 at 12.8 m."""
    for range_m, (x, low, high) in {25.6: (128, 64, 192), 12.8: (64, 96, 160)}.items():
        expected = np.zeros((256, 256, 1), bool)
        expected[:x, low:high] = True
        assert (within_range(GRID, range_m) == expected).all()
    assert within_range(GRID, 51.2).all()


def volumes():
    generator = torch.Generator().manual_seed(0)
    return (torch.randint(0, 20, COARSE.shape, generator=generator) for _ in range(2))


def test_scores_per_range_are_scores_of_the_cut_volumes():
    prediction, truth = volumes()
    metric = RangedMetric(SEMANTICKITTI, COARSE)
    metric.update(prediction, truth)
    scores = metric.scores()
    cut_prediction, cut_truth = (v[:8, 4:12] for v in (prediction, truth))
    hits = ((cut_prediction > 0) & (cut_truth > 0)).sum()
    union = ((cut_prediction > 0) | (cut_truth > 0)).sum()
    assert scores[25.6].iou == pytest.approx(float(hits / union))
    assert scores[25.6].voxels == cut_truth.numel() and scores[51.2].voxels == truth.numel()


def test_truth_that_knows_nothing_has_no_score():
    prediction, truth = volumes()
    truth[:8] = 255
    metric = RangedMetric(SEMANTICKITTI, COARSE)
    metric.update(prediction, truth)
    scores = metric.scores()
    assert scores[12.8].iou is scores[12.8].miou is scores[12.8].precision is None
    assert scores[51.2].iou is not None


def test_counts_of_two_metrics_add_up_to_those_of_one():
    frames = [tuple(volumes()), tuple(reversed(tuple(volumes())))]
    whole, parts = RangedMetric(SEMANTICKITTI, COARSE), RangedMetric(SEMANTICKITTI, COARSE)
    for frame in frames:
        alone = RangedMetric(SEMANTICKITTI, COARSE)
        alone.update(*frame)
        parts.add(alone)
        whole.update(*frame)
    assert parts.scores() == whole.scores()
    assert parts.scores()[51.2].voxels == 2 * parts.scores()[25.6].voxels * 2


def test_another_grid_is_refused():
    metric = RangedMetric(SEMANTICKITTI, COARSE)
    with pytest.raises(PredictionError, match="not on the grid"):
        metric.update(torch.zeros(2, 2, 2), torch.zeros(2, 2, 2))


def test_there_are_protocols_for_two_label_maps():
    assert len(find_protocol("semantickitti").classes) == 20
    assert len(find_protocol("sscbench_kitti360").classes) == 19
    with pytest.raises(ConfigError, match="semantickitti, sscbench_kitti360"):
        find_protocol("lseg")


def test_a_submission_comes_back(tmp_path):
    labels = np.arange(20, dtype=np.uint8).reshape(5, 2, 2)
    path = tmp_path / "sequences/08/predictions/000005.label"
    write_prediction(path, labels, SEMANTICKITTI)
    assert np.fromfile(path, "<u2")[:4].tolist() == [0, 10, 11, 15]
    assert (read_prediction(path, (5, 2, 2), SEMANTICKITTI) == labels).all()
    assert find_predictions(tmp_path) == {5: path}


def test_bad_submissions_are_refused(tmp_path):
    path = tmp_path / "0.label"
    np.array([0, 7, 40, 10], "<u2").tofile(path)
    with pytest.raises(PredictionError, match=r"ids \[7\]"):
        read_prediction(path, (2, 2, 1), SEMANTICKITTI)
    with pytest.raises(PredictionError, match="has 4 voxels, the grid has 8"):
        read_prediction(path, (2, 2, 2), SEMANTICKITTI)
    with pytest.raises(PredictionError, match="not one of the 20"):
        write_prediction(path, np.full((1, 1, 1), 20, np.uint8), SEMANTICKITTI)
    with pytest.raises(ConfigError, match="one sequence"):
        find_predictions(tmp_path / "nothing")
