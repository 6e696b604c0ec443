"""What gets installed: everything the product needs, and nothing that hides a host's ROS."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

import occ_perception
from occ_perception.systems.roles import ROLES as SYSTEMS

NODES = {f"{system}_node" for system in SYSTEMS}
EXECUTABLES = {"occ", *NODES, "bag_player", "bag_recorder"}
OWN = {"occ_perception", "occ_training"}


@pytest.fixture(scope="module")
def wheel(repository, tmp_path_factory):
    """The built wheel, an open ZipFile; nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["egg_info", "--egg-base", folder, "build", "--build-base", folder / "build"]
    pack = ["bdist_wheel", "--bdist-dir", folder / "bdist", "--dist-dir", folder]
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", *build, *pack],
        cwd=repository,
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def manifest(path):
    return ElementTree.parse(path / "package.xml").getroot()


def source_files(repository, pattern):
    return {
        str(path.relative_to(repository))
        for package in OWN
        for path in (repository / package).rglob(pattern)
    }


def test_every_module_and_label_map_is_in_the_wheel(repository, wheel):
    # A folder without __init__.py is left out by setuptools without a word.
    wanted = source_files(repository, "*.py") | source_files(repository, "*.json")
    assert len(wanted) > 10
    assert wanted <= set(wheel.namelist())


def test_the_wheel_brings_what_the_ament_index_launch_and_the_nodes_look_for(repository, wheel):
    data = {name.partition(".data/data/")[2] for name in wheel.namelist()}
    share = "share/occ_perception"
    wanted = {
        "share/ament_index/resource_index/packages/occ_perception",
        f"{share}/package.xml",
        *(f"{share}/config/{path.name}" for path in (repository / "config").iterdir()),
        *(f"{share}/launch/{path.name}" for path in (repository / "launch").glob("*.launch.py")),
    }
    assert f"{share}/config/fastdds.xml" in wanted
    assert wanted <= data


def test_the_wheel_installs_only_our_two_packages(wheel):
    assert {name.split("/")[0] for name in wheel.namelist() if ".dist-info" not in name} - OWN == {
        f"occ_perception-{occ_perception.__version__}.data"
    }


def test_executables(wheel):
    entry_points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    scripts = dict(re.findall(r"^(\w+) = ([\w.:]+)$", wheel.read(entry_points).decode(), re.M))
    assert set(scripts) == EXECUTABLES


def test_no_ros_wheel_without_asking_for_it(wheel):
    metadata = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    required = re.findall(r"^Requires-Dist: (.+)$", wheel.read(metadata).decode(), re.M)
    unconditional = [line for line in required if "extra ==" not in line]
    assert "torch" in unconditional
    assert not [line for line in unconditional if line.startswith("ros-")]
    assert [line for line in required if line.startswith("ros-rclpy") and "ros-wheels" in line]


def test_one_version_everywhere(repository, wheel):
    versions = {
        "package.xml": manifest(repository).findtext("version"),
        "occ_msgs/package.xml": manifest(repository / "occ_msgs").findtext("version"),
        "wheel": Path(wheel.filename).name.split("-")[1],
    }
    assert versions == dict.fromkeys(versions, occ_perception.__version__)


def test_versions_are_pinned(repository):
    files = sorted([*repository.glob("config/requirements*.txt"), *repository.glob(".ci/*.txt")])
    assert len(files) == 5
    loose = [
        f"{path.name}: {line}"
        for path in files
        for line in path.read_text().splitlines()
        if line and not line.startswith(("#", "-r ")) and not re.search(r"==\d", line)
    ]
    # Beside an installed ROS the distribution chooses numpy; see the file's own words.
    assert loose == ["requirements-jazzy.txt: numpy<2"]


def test_pins_agree_between_the_files(repository):
    pins = {}
    for path in [*repository.glob("config/requirements*.txt"), *repository.glob(".ci/*.txt")]:
        for name, version in re.findall(r"^([\w\[\]-]+)==(\S+)$", path.read_text(), re.M):
            pins.setdefault(name, set()).add(version)
    assert not {name: versions for name, versions in pins.items() if len(versions) > 1}


def test_occ_msgs_has_no_init_file(repository):
    # It would win over the generated module when Python starts in the repository.
    files = (repository / "occ_msgs").rglob("__init__.py")
    assert not [path for path in files if "build" not in path.relative_to(repository).parts]
    assert (repository / "occ_msgs/pip/COLCON_IGNORE").exists()


def ros_imports(path):
    """Top-level ROS packages that a file imports, wherever in it."""
    ros = re.compile(
        r"(\w+_msgs|\w+_srvs|\w+_interfaces|rclpy|tf2_ros|launch\w*|cv_bridge|sensor_msgs_py"
        r"|tf_transformations|ament_index_python)$"
    )
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        yield from (name.split(".")[0] for name in names if ros.match(name.split(".")[0]))


def test_package_xml_names_every_ros_package_that_is_used(repository):
    named = {tag.text for tag in manifest(repository) if tag.tag.endswith("depend")}
    used = {
        package
        for folder in (repository / "occ_perception", repository / "launch")
        for path in folder.rglob("*.py")
        for package in ros_imports(path)
    }
    assert used - {"builtin_interfaces"} <= named
    assert {"cv_bridge", "sensor_msgs_py", "tf_transformations", "tf2_ros", "occ_msgs"} <= named


def test_the_shipped_profile_holds_whole_images(repository):
    # 1.4 MB best-effort images get lost in the default segment of 512 KiB.
    root = ElementTree.parse(repository / "config/fastdds.xml").getroot()
    sizes = [int(tag.text) for tag in root.iter() if tag.tag.endswith("}segment_size")]
    assert sizes and min(sizes) >= 16 * 2**20
