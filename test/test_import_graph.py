"""The dependency arrows: who may import whom, and what an import must not pull in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
SYSTEMS = ("vlscene", "langocc", "vipocc", "scenedino", "gaussianflowocc")
EVERYTHING = {
    "core", "geometry", "blocks", "voxels", "rendering", "text", "systems", "weights", "runtime",
    "sync", "bags", "ros", "nodes", "eval", "viz",
}  # fmt: skip

# Part of occ_perception -> parts of ours that it may import (its own part is always allowed).
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "geometry": {"core"},
    "blocks": {"core", "geometry"},
    "voxels": {"core", "geometry"},
    "rendering": {"core", "geometry"},
    "text": {"core", "geometry"},
    "systems": {"core", "geometry", "blocks", "voxels", "rendering", "text"},
    "weights": {"core", "geometry"},
    "runtime": {"core", "geometry", "systems.base"},
    "sync": {"core", "geometry"},
    "bags": {"core", "geometry"},
    "ros": EVERYTHING,
    "nodes": EVERYTHING,
    "eval": {"core", "geometry", "voxels", "systems.base", "sync", "runtime", "bags"},
    "viz": {"core", "voxels", "systems.base", "sync", "runtime", "bags"},
}

# Library -> the places (path prefixes in the repository) that may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "rclpy": ("occ_perception/ros/", "occ_perception/nodes/"),
    "cv_bridge": ("occ_perception/ros/",),
    "tf2_ros": ("occ_perception/ros/", "occ_perception/nodes/"),
    "sensor_msgs_py": ("occ_perception/ros/",),
    "tf_transformations": ("occ_perception/ros/",),
    "open_clip": ("occ_perception/text/",),
    "spconv": ("occ_perception/blocks/sparse/",),
    "gsplat": ("occ_training/splat/",),
    "rosbags": ("occ_perception/bags/",),
    "mcap": ("occ_perception/bags/",),
    "timm": ("occ_perception/blocks/backbones.py",),
    "transformers": ("occ_perception/blocks/pretrained.py",),
}


def python_files(*roots: str) -> list[Path]:
    return sorted(p for root in roots for p in (REPO / root).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, lazily too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(REPO / "occ_perception").parts[0].removesuffix(".py")


def is_allowed(target: list[str], allowed: set[str]) -> bool:
    return target[0] in allowed or ".".join(target[:2]) in allowed


def forbidden_inside(path: Path) -> list[str]:
    """Imports of our own parts that the table forbids for this file."""
    part, broken = part_of(path), []
    if part not in MAY_IMPORT:  # cli, commands: the top, they may import everything
        return broken
    for name in imports_of(path):
        pieces = name.split(".")
        if pieces[0] == "occ_training":
            broken.append(name)
        if pieces[0] != "occ_perception" or len(pieces) < 2 or pieces[1] == part:
            continue
        if not is_allowed(pieces[1:], MAY_IMPORT[part]):
            broken.append(name)
    return broken


@pytest.mark.parametrize("path", python_files("occ_perception"), ids=lambda p: str(p.name))
def test_arrows_inside_the_package(path):
    assert not forbidden_inside(path), f"{path.relative_to(REPO)} breaks the dependency table"


@pytest.mark.parametrize("path", python_files("occ_perception/systems"), ids=lambda p: str(p.name))
def test_systems_do_not_import_each_other(path):
    own = path.relative_to(REPO / "occ_perception/systems").parts[0]
    others = {f"occ_perception.systems.{name}" for name in SYSTEMS if name != own}
    if own == "catalog.py":  # the one place that knows all five
        return
    found = {n for n in imports_of(path) if any(n.startswith(o) for o in others)}
    assert not found


@pytest.mark.parametrize(
    "path", python_files("occ_perception", "occ_training"), ids=lambda p: str(p.name)
)
def test_libraries_stay_in_their_places(path):
    place = path.relative_to(REPO).as_posix()
    for name in imports_of(path):
        homes = ONLY_IN.get(name.split(".")[0])
        assert homes is None or place.startswith(homes), f"{place} imports {name}"


@pytest.mark.parametrize("path", python_files("occ_training"), ids=lambda p: str(p.name))
def test_training_does_not_import_ros(path):
    found = {
        n for n in imports_of(path) if n.startswith(("occ_perception.ros", "occ_perception.nodes"))
    }
    assert not found


def test_the_checks_see_a_broken_arrow(tmp_path, monkeypatch):
    bad = tmp_path / "occ_perception/core/bad.py"
    bad.parent.mkdir(parents=True)
    bad.write_text("def late():\n    from occ_perception.ros import node\n")
    monkeypatch.setattr(sys.modules[__name__], "REPO", tmp_path)
    assert forbidden_inside(bad) == ["occ_perception.ros.node"]


def test_the_catalog_imports_no_optional_library():
    code = (
        "import sys, occ_perception.systems.catalog\n"
        "heavy = {'rclpy', 'open_clip', 'gsplat', 'spconv', 'transformers'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO
    )
    assert done.stdout.strip() == "[]"


def test_the_interface_package_has_no_init():
    assert not (REPO / "occ_msgs/__init__.py").exists()
