import json
import math

import numpy as np
import pytest

from occ_perception.core.errors import BagError
from occ_perception.eval.bag_eval import (
    evaluate,
    shuffled,
    system_predictions,
)
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.report import (
    Latency,
    as_document,
    class_rows,
    summary_rows,
    write_document,
)
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.systems.base import Needs

PAIR = Needs(("left", "right"), stereo=True)


@pytest.fixture(scope="module")
def truth(truth_bag):
    return VoxelTopic(truth_bag, truth=True)


def test_the_truth_itself_is_perfect(truth):
    def copy(stamp_ns):
        labels = truth.truth_at(stamp_ns)
        return np.where(labels == 255, 0, labels)

    result = evaluate(truth, copy)
    assert len(result.frames) == 2 and not result.missing
    for scores in result.metric.scores().values():
        assert scores.iou == 1 and scores.precision == 1 and scores.recall == 1
    document = as_document(result, {"system": "copy"})
    assert [row[1] for row in summary_rows(document)] == ["100.00"] * 3
    rows = {name: values for name, *values in class_rows(document)}
    assert rows["road"][2] == "100.00" and "empty" not in rows and len(rows) == 19


def test_all_free_and_no_answer(truth):
    first = truth.stamps_ns[0]

    def free(stamp_ns):
        return None if stamp_ns == first else np.zeros(truth.grid.shape, np.uint8)

    result = evaluate(truth, free)
    assert result.missing == [first] and len(result.frames) == 1
    assert all(s.iou == 0 and s.miou == 0 for s in result.metric.scores().values())


def test_shuffled_answers_are_those_of_other_frames(truth):
    stamps = truth.stamps_ns
    wrong = shuffled(truth.truth_at, stamps)
    assert np.array_equal(wrong(stamps[0]), truth.truth_at(stamps[-1]))
    assert evaluate(truth, lambda s: wrong(s) % 255).metric.scores()[51.2].miou < 0.9


def test_a_system_sees_the_pair_that_belongs_to_the_stamp(truth, truth_bag):
    seen = []

    class Looking:
        def preprocess(self, frame):
            return frame

        def infer(self, views, context):
            seen.append((context.stamp_ns, *(v.camera.name for v in views), views[0].camera))
            import torch

            return type("Answer", (), {"labels": torch.zeros(truth.grid.shape, dtype=torch.uint8)})

    frames = BagFrames(truth_bag, PAIR, "velodyne")
    evaluate(truth, system_predictions(Looking(), frames))
    assert [s[:3] for s in seen] == [(stamp, "left", "right") for stamp in truth.stamps_ns]
    camera = seen[0][3]
    assert camera.P[0, 3] == 0 and abs(camera.T_base_cam[:3, 3]).max() < 0.5


def test_a_bag_without_truth_or_predictions_says_so(truth_bag):
    with pytest.raises(BagError, match="0 topics of predicted voxels"):
        VoxelTopic(truth_bag, truth=False)


def test_the_report_is_json_also_where_nothing_is_known(truth, tmp_path):
    class Unknown:
        grid, label_map, stamps_ns = truth.grid, truth.label_map, truth.stamps_ns[:1]

        def truth_at(self, stamp_ns):
            return np.full(self.grid.shape, 255, np.uint8)

    result = evaluate(Unknown(), lambda _: np.zeros(truth.grid.shape, np.uint8))
    latency = Latency.of([0.1, 0.3], {"superseded": 2})
    document = as_document(result, {"system": "x"}, latency)
    write_document(tmp_path / "a/report.json", document)
    back = json.loads((tmp_path / "a/report.json").read_text())
    assert back["ranges_m"]["51.2"]["iou"] is None and back["worst"] == []
    assert summary_rows(document)[2][1] == "undefined"
    assert math.isclose(back["latency"]["mean_s"], 0.2)
    assert back["latency"]["dropped"] == {"superseded": 2}
