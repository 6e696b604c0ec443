"""A street for tests of what beams and cameras say about it."""

import pytest

from occ_perception.systems.roles import SURROUND_CAMERAS
from occ_training.data.bag_scene import Bags
from occ_training.data.surround import SurroundDrive, SurroundSpec


@pytest.fixture(scope="session")
def street(surround_bag):
    """Two key frames with LiDAR points, and with true classes and depth as label layers."""
    maps = {
        "classes": "/ground_truth/{camera}/semantic/compressed",
        "depth": "/ground_truth/{camera}/depth",
    }
    layers = {
        "lidar": "/lidar_top/points",
        "truth": "/ground_truth/voxels",
        "mask": "/ground_truth/camera_mask",
    }
    return SurroundDrive(Bags(surround_bag), SurroundSpec(SURROUND_CAMERAS, maps, layers))
