"""A computed street through player and node at real-time rate: the answer lands on the landmark."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.ros
live = pytest.importorskip("ros.live", reason="needs rclpy and occ_msgs")

from ros.carving_system import FAR  # noqa: E402

from occ_training.convert.content import Options  # noqa: E402
from occ_training.convert.runner import convert_scene  # noqa: E402
from occ_training.convert.world_bag import WorldScene  # noqa: E402
from occ_training.world.config import WorldConfig  # noqa: E402
from occ_training.world.scene import LANDMARK_SIZE_M, LANDMARK_XY_M  # noqa: E402

NAME = "carving_node"
FRAMES = 3
GROUND_M = -1.73  # below the scanner, KITTI's rig


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Bag of a street whose landmark stands ahead and to the left of the first frame."""
    folder = tmp_path_factory.mktemp("street")
    config = WorldConfig(preset="small", frames=FRAMES, movers=False, landmark=True)
    scene = WorldScene(config, cameras=("image_2", "image_3"))
    assert convert_scene(scene, folder, Options()).problems == []
    return folder / scene.name


@pytest.fixture(scope="module")
def answers(street, tmp_path_factory):
    """Every VoxelGrid of a replay at the pace of the bag."""
    from occ_msgs.msg import VoxelGrid

    remaps = [
        word
        for side in ("left", "right")
        for topic in ("image_rect", "camera_info")
        for word in ("-r", f"{side}/{topic}:=/camera_color/{side}/{topic}")
    ]
    arguments = ["-p", "system.preset:=street", "-p", "cameras.compressed:=true", *remaps]
    rig = live.Live("ros.carving_node", NAME, tmp_path_factory.mktemp("live") / "log", *arguments)
    try:
        rig.spin_until(lambda: rig.node.count_publishers(f"/{NAME}/voxels"), "the node")
        domain = str(rig.context.get_domain_id())
        player = subprocess.Popen(
            [sys.executable, "-m", "occ_perception.nodes.bag_player", str(street)],
            env=os.environ | {"ROS_DOMAIN_ID": domain},
        )
        voxels = rig.received[f"/{NAME}/voxels"]
        rig.spin_until(lambda: player.poll() is not None and len(voxels) >= FRAMES, "answers")
        assert player.returncode == 0
        assert all(isinstance(message, VoxelGrid) for message in voxels)
        return list(voxels)
    finally:
        rig.close()


def centres(message, label=1):
    """Centres of the voxels of one class, metres in the frame of the message."""
    shape = message.size_x, message.size_y, message.size_z
    cells = np.argwhere(np.frombuffer(message.labels, np.uint8).reshape(shape) == label)
    origin = message.origin.position
    return np.array([origin.x, origin.y, origin.z]) + (cells + 0.5) * message.resolution


def test_every_frame_is_answered(answers):
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in answers]
    assert len(set(stamps)) == FRAMES
    assert stamps == sorted(stamps)
    assert {m.header.frame_id for m in answers} == {"velodyne"}


def test_the_answer_lands_on_the_landmark(answers):
    """Two views 0.5 m apart cannot see how deep it is: the hull is long, but points at the cube."""
    found = centres(answers[0])
    x, y = LANDMARK_XY_M
    half = LANDMARK_SIZE_M / 2
    middle = GROUND_M + half
    cube = np.abs(found - [x, y, middle]) < half
    volume = (LANDMARK_SIZE_M / FAR.voxel_size_m[0]) ** 3
    assert cube.all(1).sum() > 0.7 * volume
    bearing, height = found[:, 1] / found[:, 0], found[:, 2] / found[:, 0]
    assert np.median(bearing) == pytest.approx(y / x, abs=0.02)
    assert np.median(height) == pytest.approx(middle / x, abs=0.02)
    width = np.ptp(np.percentile(bearing, [5, 95]))  # a red sign elsewhere does not matter
    assert width < 2.2 * half / (x - half)
