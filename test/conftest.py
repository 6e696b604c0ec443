"""What every test shares: where data lies, which tests this machine can run, ROS kept to itself."""

import importlib.util
import os
import random
import signal
from pathlib import Path

import hypothesis
import jaxtyping
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# Where tensors cross function boundaries. Not core and geometry.transforms: they are the gates that
# refuse wrong input in words of their own, and a type checker would get there first.
CHECKED = [f"occ_perception.{name}" for name in ("blocks", "voxels", "rendering", "systems")] + [
    f"occ_perception.geometry.{name}" for name in ("projection", "resize", "rays", "fisheye")
]

# Correctness is tested here, time is not: a busy machine must not fail a property.
hypothesis.settings.register_profile("occ", deadline=None, derandomize=True, max_examples=50)


def pytest_addoption(parser):
    parser.addoption(
        "--golden",
        type=Path,
        default=REPOSITORY / "test/golden",
        metavar="DIR",
        help="golden numbers that the parity tests compare with (default: test/golden)",
    )
    parser.addoption(
        "--require-ros",
        action="store_true",
        help="fail instead of skipping where rclpy or the built occ_msgs is missing",
    )


def pytest_configure(config):
    hypothesis.settings.load_profile("occ")
    # Started with `&` by a script, we and all we start would be deaf to Ctrl-C, which tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Shapes and types in annotations are checked at every call; in tests only, it costs time.
    jaxtyping.install_import_hook(CHECKED, "shape_checks.check")
    # A domain of its own, on this machine only: parallel runs must not see each other.
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randrange(102))
    # Without it a field of the wrong type is published as zero, silently.
    os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
    os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(REPOSITORY / "config/fastdds.xml")


def missing_ros():
    """Say what of ROS is missing here, or return an empty string."""
    if importlib.util.find_spec("rclpy") is None:
        return "rclpy is not installed"
    # Without the built package the folder occ_msgs/ imports as a namespace: it has no file.
    spec = importlib.util.find_spec("occ_msgs")
    if spec is None or spec.origin is None:
        return "occ_msgs is not built (make setup)"
    return ""


def pytest_collection_modifyitems(config, items):
    needing_ros = [item for item in items if item.get_closest_marker("ros")]
    if needing_ros and (reason := missing_ros()):
        if config.getoption("--require-ros"):
            raise pytest.UsageError(f"--require-ros was given, but {reason}")
        for item in needing_ros:
            item.add_marker(pytest.mark.skip(reason=reason))
    needing_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if needing_gpu and not has_gpu():
        for item in needing_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def has_gpu():
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def repository():
    """Root folder of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir():
    """Folder with real samples: $OCC_SHARED, else `shared` beside the repository."""
    path = Path(os.environ.get("OCC_SHARED", REPOSITORY.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no shared data at {path} (set OCC_SHARED)")
    return path


@pytest.fixture(scope="session")
def golden_dir(request):
    """Folder with the golden numbers of the parity tests."""
    path = request.config.getoption("--golden").resolve()
    if not path.is_dir():
        pytest.skip(f"no golden numbers at {path} (name a set with --golden DIR)")
    return path


@pytest.fixture(scope="session")
def truth_bag(tmp_path_factory):
    """Six stereo pairs of a small computed street; the first and the last have voxel truth."""
    from occ_training.convert.content import Options
    from occ_training.convert.runner import convert_scene
    from occ_training.convert.world_bag import WorldScene
    from occ_training.world.config import WorldConfig

    scene = WorldScene(WorldConfig(frames=6, movers=False), ("image_2", "image_3"))
    folder = tmp_path_factory.mktemp("truth")
    assert convert_scene(scene, folder, Options()).problems == []
    return folder / scene.name


@pytest.fixture(scope="session")
def surround_bag(tmp_path_factory):
    """Two key frames of six tiny cameras with LiDAR, truth per pixel and voxel truth."""
    from occ_training.convert.content import Options
    from occ_training.convert.runner import convert_scene
    from occ_training.convert.world_bag import WorldScene
    from occ_training.world.config import WorldConfig

    scene, folder = WorldScene(WorldConfig("nuscenes", frames=2)), tmp_path_factory.mktemp("ring")
    assert convert_scene(scene, folder, Options()).problems == []
    return folder / scene.name
