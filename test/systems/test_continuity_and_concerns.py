"""When history may be used, and which cameras are unlike the trained ones."""

import numpy as np
import pytest

from occ_perception.core.camera import Camera
from occ_perception.geometry.transforms import transform
from occ_perception.systems.base import Concern, Context
from occ_perception.systems.concerns import CameraWatch, field_of_view_deg
from occ_perception.systems.continuity import Continuity

HALF_NS = 500_000_000


def at(step, x_m=None):
    return Context(step * HALF_NS, None if x_m is None else transform([x_m, 0, 0]))


def test_a_steady_drive_continues():
    stream = Continuity()
    assert [stream.continues(at(k, 5.0 * k)) for k in range(4)] == [False, True, True, True]
    stream.reset()
    assert not stream.continues(at(4, 20.0))
    assert not stream.concerns


@pytest.mark.parametrize(
    "second", [at(2, 0), at(1, 0), at(7, 0), at(3)], ids=["repeated", "back", "gap", "no pose"]
)
def test_breaks_in_time_and_missing_poses_end_a_scene(second):
    stream = Continuity()
    stream.continues(at(2, 0.0))
    assert not stream.continues(second)


def test_a_pose_after_none_is_a_new_beginning():
    stream = Continuity()
    stream.continues(at(1))
    assert not stream.continues(at(2, 900.0))  # history would hang on another origin
    assert stream.continues(at(3, 903.0))


def test_a_jump_of_the_pose_is_told_with_numbers():
    stream = Continuity()
    stream.continues(at(1, 0.0))
    assert not stream.continues(at(2, 50.0))
    assert stream.continues(at(3, 52.0))
    (concern,) = stream.concerns
    assert "50.0 m within 0.50 s" in concern


def camera(focal_px):
    P = np.array([[focal_px, 0, 800, 0], [0, focal_px, 450, 0], [0, 0, 1, 0]], float)
    return Camera("CAM_BACK", P, 1600, 900)


def test_views_far_from_all_trained_ones_are_told_with_both_numbers():
    assert field_of_view_deg(camera(800.0)) == pytest.approx(90.0)
    watch = CameraWatch((64.6, 89.4))
    for usual in (1266.0, 809.0):
        watch.see(camera(usual))
        assert watch.concerns() == []
    watch.see(camera(400.0))
    (concern,) = watch.concerns()
    assert isinstance(concern, Concern)
    assert "127 degrees" in concern and "with 89" in concern
