"""Occ3D's scores on hand-made voxels."""

import math

import pytest
import torch

from occ_perception.core.errors import PredictionError
from occ_perception.core.labels import load_label_map
from occ_perception.eval.occ3d import (
    GAUSSIANFLOWOCC_PROTOCOL,
    LANGOCC_PROTOCOL,
    Occ3DMetric,
)


def test_the_label_map_names_what_is_scored():
    labels = load_label_map("occ3d_nuscenes")
    assert labels.ids == tuple(range(18))
    assert (labels.id_of("free"), labels.free_id) == (17, 17)
    assert labels.id_of("driveable_surface") == 11
    assert not labels.blocking()[[11, 13, 14, 17]].any()
    assert labels.blocking()[[4, 7, 15, 16]].all()


def scored(protocol, prediction, truth, mask=None):
    metric = Occ3DMetric(protocol)
    mask = torch.ones(len(truth), dtype=torch.bool) if mask is None else torch.tensor(mask)
    metric.update(torch.tensor(prediction), torch.tensor(truth), mask)
    return metric.result()


def test_iou_per_class_and_its_mean_over_classes_that_occur():
    result = scored(LANGOCC_PROTOCOL, [4, 4, 7, 17], [4, 7, 7, 17])
    assert result.class_iou[4] == 0.5
    assert result.class_iou[7] == 0.5
    assert math.isnan(result.class_iou[1])
    assert result.miou == 50
    assert (result.iou, result.iou_free) == (100, 100)


def test_unobserved_voxels_do_not_count():
    result = scored(LANGOCC_PROTOCOL, [4, 1], [4, 7], [True, False])
    assert result.miou == 100


def test_the_protocols_differ_in_what_they_skip():
    prediction, truth = [4, 4, 4], [4, 0, 12]
    # "others" and "other_flat" are missed classes here ...
    assert scored(LANGOCC_PROTOCOL, prediction, truth).miou == pytest.approx(100 / 9)
    # ... and voxels that do not exist there.
    assert scored(GAUSSIANFLOWOCC_PROTOCOL, prediction, truth).miou == 100


def test_truth_without_a_class_is_occupied_all_the_same():
    result = scored(LANGOCC_PROTOCOL, [17, 4], [255, 4])
    assert result.iou == 50
    assert result.miou == 100


def test_frames_add_up():
    metric = Occ3DMetric()
    seen = torch.ones(1, dtype=torch.bool)
    for prediction, truth in ((4, 4), (4, 17)):
        metric.update(torch.tensor([prediction]), torch.tensor([truth]), seen)
    assert metric.result().class_iou[4] == 0.5


def test_wrong_grids_and_ids_are_refused():
    metric, seen = Occ3DMetric(), torch.ones(2, dtype=torch.bool)
    with pytest.raises(PredictionError, match="same grid"):
        metric.update(torch.zeros(3, dtype=torch.long), torch.zeros(2, dtype=torch.long), seen)
    with pytest.raises(PredictionError, match="18 classes"):
        metric.update(torch.tensor([18, 0]), torch.tensor([0, 0]), seen)
