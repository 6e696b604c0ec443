"""Describe the package to pip and to colcon (ament_python)."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
NAME = "occ_perception"
SYSTEMS = ("vlscene", "vipocc", "scenedino", "langocc", "gaussianflowocc")
MANIFEST = ElementTree.parse(HERE / "package.xml").getroot()  # noqa: S314 - our own file


def pinned(name: str) -> list[str]:
    """Requirements of one file in config/, as pinned there."""
    lines = (HERE / "config" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def names(name: str) -> list[str]:
    """The same without versions: whatever the host has is kept, apt's numpy above all."""
    return [line.split("==")[0] for line in pinned(name)]


def files(pattern: str) -> list[str]:
    """Files below the repository, as the relative paths that data_files asks for."""
    return sorted(str(path.relative_to(HERE)) for path in HERE.glob(pattern) if path.is_file())


setup(
    name=NAME,
    version=MANIFEST.findtext("version"),
    description=MANIFEST.findtext("description"),
    license=MANIFEST.findtext("license"),
    maintainer=MANIFEST.findtext("maintainer"),
    maintainer_email=MANIFEST.find("maintainer").get("email"),
    python_requires=">=3.11",
    packages=find_packages(include=["occ_perception*", "occ_training*"]),
    package_data={
        "": [f"**/*.{kind}" for kind in ("json", "yaml", "html", "md", "safetensors", "npz")]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"{NAME}/resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch/*.launch.py")),
        (f"share/{NAME}/config", files("config/*")),
    ],
    # torch is named: colcon never resolves install_requires, so the ordinary route is not touched.
    # No ROS wheel is named: beside an installed ROS it would hide its rclpy, so they are an extra.
    install_requires=names("requirements.txt"),
    extras_require={
        "ros-wheels": pinned("requirements-ros.txt"),
        # Without an extra of this name `colcon test` runs unittest and is glad to find no test.
        "test": names("requirements-test.txt"),
        "train": ["accelerate", "tensorboard", "lz4"],
        "text": ["open-clip-torch"],
        "splat": ["gsplat"],
        "sparse": ["spconv"],
        "teachers": ["transformers"],
    },
    entry_points={
        "console_scripts": [
            "occ = occ_perception.cli:main",
            *(f"{system}_node = occ_perception.nodes.{system}_node:main" for system in SYSTEMS),
            "bag_player = occ_perception.nodes.bag_player:main",
            "bag_recorder = occ_perception.nodes.bag_recorder:main",
        ],
    },
    # Where `ros2 run` and launch look for executables. pip ignores both and uses bin/.
    options={
        "develop": {"script_dir": f"$base/lib/{NAME}"},
        "install": {"install_scripts": f"$base/lib/{NAME}"},
    },
    zip_safe=False,  # label maps are read beside the code
)
