"""The synthetic rig fits the system's needs, and warming up leaves no history."""

import pytest
from runtime.toy_system import BrightnessSystem

from occ_perception.runtime.warmup import BASELINE_M, FOCAL_PX, synthetic_frames, warm_up


def test_a_stereo_rig_has_its_baseline_in_the_right_projection():
    left, right = synthetic_frames(BrightnessSystem(("left", "right"), stereo=True))
    assert left.camera.P[0, 3] == 0
    assert right.camera.P[0, 3] == pytest.approx(-FOCAL_PX * BASELINE_M)
    assert (left.camera.T_base_cam == right.camera.T_base_cam).all()


def test_warming_up_runs_and_resets():
    system = BrightnessSystem()
    report = warm_up(system, runs=3)
    assert 0 < report.best_s <= report.first_s
    assert system.resets == 1
