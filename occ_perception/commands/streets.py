"""Computed streets for demonstrations, with the rig that a system was made for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from occ_perception.core.errors import BagError

MOST_JOBS = 4  # each process scans the street for itself, more of them gain little


@dataclass(frozen=True)
class Street:
    """What is computed for a system.

    Attributes:
        rig: Sensor rig of the world.
        size: Preset of the world: image sizes and LiDAR density.
        cameras: Cameras of the rig; None for all.
        movers: Things move.
        every: Frames between two that are computed; KITTI's have voxel truth at every fifth.
    """

    rig: str
    size: str
    cameras: tuple[str, ...] | None = None
    movers: bool = False
    every: int = 1


PAIR = Street("kitti", "full", ("image_2", "image_3"), every=5)  # KITTI's colour pair
SINGLE = Street("kitti360", "full", ("image_00",))
AROUND = Street("nuscenes", "small", movers=True)
STREETS = {
    "vlscene": PAIR,
    "vipocc": SINGLE,
    "scenedino": SINGLE,
    "langocc": AROUND,
    "gaussianflowocc": AROUND,
}


def cache_folder() -> Path:
    """Where things are kept that can be computed again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "occ_perception"


def compute(street: Street, frames: int, seed: int, console: Console) -> Path:
    """The computed bag, from the cache where it was made before.

    Args:
        street: What to compute.
        frames: Sets of images.
        seed: Which street.
        console: Where progress is shown.

    Raises:
        BagError: It cannot be written.
    """
    from occ_perception.commands.convert import progress_bars
    from occ_training.convert.content import Options
    from occ_training.convert.runner import VERSION, convert_scene
    from occ_training.convert.world_bag import WorldScene
    from occ_training.world.config import WORLD_VERSION, WorldConfig

    config = WorldConfig(
        rig=street.rig,
        preset=street.size,
        seed=seed,
        frames=1 + (frames - 1) * street.every,
        movers=street.movers,
        landmark=True,
    )
    jobs = min(frames, os.cpu_count() or 1, MOST_JOBS)
    scene = WorldScene(config, cameras=street.cameras, jobs=jobs, every=street.every)
    folder = cache_folder() / f"street_{WORLD_VERSION}.{VERSION}_{frames}x{street.every}frames"
    path = folder / scene.name
    if not (path / "metadata.yaml").is_file():
        console.print(f"computing a street: {frames} sets of images, seed {seed}")
        with progress_bars(console, 1) as (_, tell):
            report = convert_scene(scene, folder, Options(), tell)
        if report.problems:
            raise BagError("; ".join(report.problems))
    console.print(f"input     {path}")
    return path
