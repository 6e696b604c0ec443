"""Scene completion scores, counted by hand."""

import pytest
import torch

from occ_perception.core.errors import PredictionError
from occ_perception.eval.metrics import CompletionMetric


def scored(prediction, target, classes=4):
    metric = CompletionMetric(classes)
    metric.update(torch.tensor(prediction), torch.tensor(target))
    return metric


def test_counts_by_hand():
    #                0 hit  1 hit  missed  false  swapped  ignored
    metric = scored([0, 1, 0, 2, 1, 3], [0, 1, 3, 0, 2, 255])
    assert metric.completion_counts() == (2, 1, 1)
    hits, false_alarms, misses = (count.tolist() for count in metric.class_counts())
    assert hits == [1, 1, 0, 0]
    assert false_alarms == [1, 1, 1, 0]
    assert misses == [1, 0, 1, 1]
    assert metric.ignored == 1
    result = metric.result()
    assert result.iou == pytest.approx(2 / 4)
    assert result.precision == pytest.approx(2 / 3)
    assert result.recall == pytest.approx(2 / 3)
    assert result.class_iou == pytest.approx((1 / 3, 1 / 2, 0, 0), abs=1e-4)
    assert result.miou == pytest.approx(1 / 6, abs=1e-4)


def test_frames_are_summed_before_the_ratio():
    together = scored([1, 1, 1, 0], [1, 1, 1, 1])
    apart = CompletionMetric(4)
    apart.update(torch.tensor([1, 1, 1]), torch.tensor([1, 1, 1]))
    apart.update(torch.tensor([0]), torch.tensor([1]))
    assert apart.result() == together.result()
    assert apart.result().iou == pytest.approx(0.75)


def test_nothing_counted_is_zero_not_nan():
    assert CompletionMetric(4).result().iou == 0
    assert scored([1, 2], [255, 255]).result().miou == 0


def test_uint8_volumes_are_counted():
    volume = torch.randint(0, 20, (2, 8, 8, 4), dtype=torch.uint8)
    metric = CompletionMetric()
    metric.update(volume, volume)
    assert metric.result().iou == 1


@pytest.mark.parametrize(
    ("prediction", "target"), [([4], [0]), ([0], [4]), ([1, 2], [1]), ([-1], [1]), ([0], [300])]
)
def test_impossible_input_is_refused(prediction, target):
    with pytest.raises(PredictionError):
        scored(prediction, target)
