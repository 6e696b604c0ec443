"""Small scenes that the tests of the world share; built once per run.

OCC_WORLD_PRESET=small (or full) runs the same tests on larger images and denser sweeps.
"""

import os

import pytest

from occ_training.world.config import WorldConfig
from occ_training.world.frames import Parts, make_frame
from occ_training.world.scene import build_scene
from occ_training.world.sensed import Mapper

PRESET = os.environ.get("OCC_WORLD_PRESET", "tiny")


@pytest.fixture(scope="session")
def kitti():
    """The unit scene on the KITTI rig, with moving objects."""
    return build_scene(WorldConfig("kitti", PRESET, 7, movers=True))


@pytest.fixture(scope="session")
def kitti_frames(kitti):
    """Frames 0 and 1 of the unit scene; frame 0 has voxels."""
    mapper = Mapper(kitti)
    parts = Parts(cameras=("image_2", "image_3"))
    return [make_frame(kitti, mapper, i, parts) for i in (0, 1)]


@pytest.fixture(scope="session")
def nuscenes():
    """A six-camera scene with moving objects."""
    return build_scene(WorldConfig("nuscenes", PRESET, 1005, movers=True))
