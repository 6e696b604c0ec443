import pytest

from occ_training.convert.content import Options
from occ_training.convert.runner import convert_scene
from occ_training.convert.world_bag import WorldScene
from occ_training.world.config import WorldConfig


@pytest.fixture(scope="session")
def surround_bag(tmp_path_factory):
    """One key frame of six tiny cameras with LiDAR, pixel truth and voxel truth."""
    folder = tmp_path_factory.mktemp("surround")
    scene = WorldScene(WorldConfig("nuscenes", frames=1))
    assert convert_scene(scene, folder, Options()).problems == []
    return folder / scene.name
