"""What stands in a case's JSON is used: altering it there must break parity with the stored arrays.

Adapters with the published salt, seed or calibration written into them would pass the shipped set
and fail on any other; here they fail at once.
"""

from __future__ import annotations

import copy
import shutil

import pytest

from parity import vlscene_data_cases, vlscene_image_cases, vlscene_volume_cases
from parity.cases import Case
from parity.compare import run_case

CASES = {**vlscene_image_cases.CASES, **vlscene_volume_cases.CASES, **vlscene_data_cases.CASES}


def _next_seed(spec):
    spec["seed"] += 10


def _salt(spec):
    spec["salt"] = "other"


def _focal(spec):
    for matrix in ("P2", "P3"):
        spec["calibration"][matrix][0][0] *= 1.01


def _pose(spec):
    spec["calibration"]["Tr"][0][3] += 0.1


def _width(spec):
    spec["calibration"]["W"] += 1


def _ids(spec):
    spec["raw_ids"].reverse()


def _calib(spec):
    spec["inputs"] = spec["inputs"].replace("[[61.3],[44.7]]", "[[51.3],[44.7]]")


@pytest.mark.parametrize(
    ("name", "alter"),
    [
        ("stereo_small", _salt),
        ("stereo_small", _next_seed),
        ("stereo_small", _calib),
        ("head_small", _salt),
        ("head_small", _next_seed),
        ("preprocess_00", _next_seed),
        ("preprocess_00", _focal),
        ("preprocess_00", _pose),
        ("preprocess_00", _width),
        ("lidar_targets", _next_seed),
        ("lidar_targets", _focal),
        ("lidar_targets", _ids),
        ("loss_head", _next_seed),
        ("metric_ssc", _next_seed),
        ("voxel_labels", _next_seed),
        ("voxel_labels", _ids),
    ],
)
def test_altered_case_is_noticed(name, alter, golden_dir, tmp_path):
    folder = golden_dir / "vlscene"
    if not (folder / f"{name}.json").is_file():
        pytest.skip(f"the golden set has no vlscene/{name}")
    copied = tmp_path / "vlscene"
    copied.mkdir()
    for file in (f"{name}.json", f"{name}.npz", "manifest.json"):
        shutil.copy(folder / file, copied)
    case = Case(copied, name)
    before = copy.deepcopy(case.spec)
    alter(case.spec)
    if case.spec == before:
        pytest.skip("this set says it differently")
    with pytest.raises(pytest.fail.Exception):
        run_case(case, CASES, {})
