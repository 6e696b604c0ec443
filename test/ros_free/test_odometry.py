"""The robot's motion from TF or odometry; None, and one sentence, where nobody knows."""

from types import SimpleNamespace

import numpy as np
import pytest

from occ_perception.geometry.transforms import transform
from occ_perception.ros.odometry import Motion
from occ_perception.ros.system_settings import MovingFrameSettings
from occ_perception.sync.transforms_buffer import TransformBuffer

SECOND = 1_000_000_000


def message(time_ns, x_m, child="base_link", w=1.0):
    xyz = SimpleNamespace(x=x_m, y=0.0, z=0.0)
    turn = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=w)
    stamp = SimpleNamespace(sec=time_ns // SECOND, nanosec=time_ns % SECOND)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id="odom"),
        child_frame_id=child,
        pose=SimpleNamespace(pose=SimpleNamespace(position=xyz, orientation=turn)),
    )


@pytest.fixture
def told():
    return []


def motion(told, **changes):
    frames = MovingFrameSettings(tf_timeout_s=0.0, **changes)
    buffer = TransformBuffer()
    return Motion(frames, buffer, told.append), buffer


def test_tf_tells_the_motion_unless_odometry_is_wanted(told):
    moves, buffer = motion(told)
    buffer.set("odom", "base_link", transform([7.0, 0, 0]), SECOND)
    assert moves.at(SECOND)[0, 3] == 7.0
    moves, buffer = motion(told, use_odometry=True)
    buffer.set("odom", "base_link", transform([7.0, 0, 0]), SECOND)
    assert moves.at(SECOND) is None
    assert not told[1:] and "frames.use_odometry" in told[0]


def test_odometry_is_interpolated_and_carried_to_the_grids_frame(told):
    moves, buffer = motion(told, use_odometry=True, grid="lidar")
    buffer.set("chassis", "lidar", transform([0, 0, 1.8]))
    for time_ns, x_m in ((SECOND, 2.0), (2 * SECOND, 4.0)):
        moves.take(message(time_ns, x_m, child="chassis"))
    np.testing.assert_allclose(moves.at(3 * SECOND // 2)[:3, 3], [3.0, 0, 1.8])
    assert not told


def test_nobody_knows_before_and_after_and_that_is_told_once(told):
    moves, _ = motion(told, use_odometry=True)
    moves.take(message(SECOND, 2.0))
    moves.take(message(SECOND, 2.0, w=0.0))
    assert "quaternion" in told.pop()
    assert moves.at(9 * SECOND) is None
    assert moves.at(8 * SECOND) is None
    assert len(told) == 1
    moves.forget()
    assert moves.at(SECOND) is None
