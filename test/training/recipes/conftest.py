import pytest


@pytest.fixture(scope="session")
def field_bag(tmp_path_factory):
    """Three frames of a tiny KITTI-360 rig: stereo, fisheyes, truth; voxels at the first."""
    from occ_training.convert.content import Options
    from occ_training.convert.runner import convert_scene
    from occ_training.convert.world_bag import WorldScene
    from occ_training.world.config import WorldConfig

    scene, folder = WorldScene(WorldConfig("kitti360", frames=3)), tmp_path_factory.mktemp("field")
    assert convert_scene(scene, folder, Options()).problems == []
    return folder / scene.name
