"""Check that a colcon install space holds everything that ROS looks for in it.

Usage: python .ci/check_install.py INSTALL_SPACE
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[1]
EXECUTABLES = ("occ", "vlscene_node", "bag_player", "bag_recorder")


def expected(package: str, source: Path) -> list[str]:
    """Paths, relative to a package's install prefix, that must exist."""
    paths = [
        f"share/ament_index/resource_index/packages/{package}",
        f"share/{package}/package.xml",
    ]
    if package == "occ_msgs":
        paths += [f"share/{package}/{p.relative_to(source)}" for p in source.glob("[ms]*/*.[ms]*")]
        paths += [f"lib/lib{package}__rosidl_generator_c.so"]
    else:
        paths += [f"lib/{package}/{name}" for name in EXECUTABLES]
        for folder in ("config", "launch"):
            kept = (p for p in (source / folder).glob("*") if p.is_file())
            paths += [f"share/{package}/{folder}/{p.name}" for p in kept]
    return paths


def main() -> None:
    """Name everything that is missing and fail, or say how much was found."""
    install = Path(sys.argv[1])
    for source in (REPOSITORY, REPOSITORY / "occ_msgs"):
        package = ElementTree.parse(source / "package.xml").getroot().findtext("name")  # noqa: S314
        paths = expected(package, source)
        missing = [path for path in paths if not (install / package / path).exists()]
        if missing:
            sys.exit(f"{package}: colcon did not install {', '.join(missing)}")
        print(f"{package}: {len(paths)} of {len(paths)} files are where ROS looks for them")


if __name__ == "__main__":
    main()
