import json
import math
from pathlib import Path

import numpy as np
import pytest

from occ_perception.eval.report import (
    Latency,
    as_document,
    class_grid,
    is_scored,
    percent,
    score_grid,
    write_document,
)
from occ_perception.eval.scoring import Confusion, Judged, Outcome, Place

BAGS = [Path("a/day"), Path("a/night")]


def outcome(value):
    return Outcome(
        scores={"completion": {"iou 12.8 m": value, "miou 12.8 m": 0.5, "rmse [m]": 2.0}},
        classes={"completion": {"12.8 m": {"car": value, "road": 1.0}}},
        confusions={"completion": Confusion(("empty", "car"), np.eye(2, dtype=np.int64))},
        frames=[Judged(Place(0, 1), 0.9), Judged(Place(1, 2), 0.1), Judged(Place(1, 3), None)],
        missing=[Place(1, 4)],
    )


def test_the_report_is_json_also_where_nothing_is_known(tmp_path):
    latency = Latency.of([0.1, 0.3], {"superseded": 2})
    document = as_document(outcome(None), BAGS, {"system": "x"}, latency)
    write_document(tmp_path / "a/report.json", document)
    back = json.loads((tmp_path / "a/report.json").read_text())
    assert back["scores"]["completion"]["iou 12.8 m"] is None
    assert back["worst"] == [
        {"bag": "night", "stamp_ns": 2, "score": 0.1},
        {"bag": "day", "stamp_ns": 1, "score": 0.9},
    ]
    assert back["missing"] == [{"bag": "night", "stamp_ns": 4}] and back["frames"] == 3
    assert back["confusion"]["completion"] == {
        "classes": ["empty", "car"],
        "counts": [[1, 0], [0, 1]],
    }
    assert math.isclose(back["latency"]["mean_s"], 0.2)
    assert back["latency"]["dropped"] == {"superseded": 2}


def test_shares_are_percent_and_what_has_a_unit_is_not():
    grid = score_grid(outcome(None).scores["completion"])
    assert grid.columns == ("", "iou %", "miou %", "rmse [m]")
    assert grid.rows == [("12.8 m", "undefined", "50.00", ""), ("all", "", "", "2.000")]
    rows = class_grid(outcome(0.25).classes["completion"]).rows
    assert rows == [("car", "25.00"), ("road", "100.00")]


def test_a_score_that_is_nowhere_defined_is_none():
    document = as_document(Outcome(scores={"a": {"iou": None}}), BAGS, {})
    assert not is_scored(document)
    assert is_scored(as_document(outcome(0.0), BAGS, {}))


@pytest.mark.parametrize(
    ("value", "text"), [(None, "undefined"), (0.12345, "12.35"), (1, "100.00")]
)
def test_percent(value, text):
    assert percent(value) == text


def test_no_latency_without_answers():
    assert Latency.of([], {}) is None
