"""`occ world`: a street that is computed, as a bag, as a data set on disk, as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from tyro.conf import arg

from occ_perception.commands.convert import NOTHING, PARTLY, progress_bars, show_inventory
from occ_perception.core.errors import ConfigError

if TYPE_CHECKING:
    from occ_training.convert.world_bag import WorldScene

DESCRIPTION = """Compute streets: exact images, depth, classes, LiDAR, voxels, from a seed.

The same seed gives the same street on every machine. Stamps begin at 2030-01-01, so that nobody
takes it for a recording. It proves that code is right; it proves nothing about real roads.

Examples:
  occ world --pictures out/street
  occ world --rig nuscenes --preset small --frames 20 --bag bags --jobs 4
  occ world --preset small --split small-train --frames 100 --every 5 --bag bags/train --jobs 8
  occ world --rig kitti360 --tree kitti360 --layout sscbench
  occ world --seed 990001 990002 --held --bag bags/held
  occ world --rig nuscenes --seed 42000 42001 --busy --frames 16 --bag bags/busy"""

FIRST_NUMBER = {"semantickitti": 30}  # beyond the real sequences
CONVERTERS = {"nuscenes": "occ3d"}  # by layout, where it is another's that finds all of it
OTHERS_FIRST_NUMBER = 9000  # beyond the real drives and scenes

Rig = Literal["kitti", "kitti00", "kitti360", "nuscenes", "cityscapes", "bdd100k", "realestate10k"]
Layout = Literal["semantickitti", "kitti-raw", "kitti360", "sscbench", "nuscenes"]


@dataclass(frozen=True)
class WorldOptions:
    """Which streets, and what of them.

    Attributes:
        rig: Sensors of which data set.
        preset: Size of images, density of the scanner.
        seed: One street each.
        split: The seeds of a fixed split instead.
        frames: Frames of each street: 10 per second, of nuScenes 2.
        every: In bags, only every n-th frame: 5 leaves those of KITTI that have voxels.
        sweeps_every: In bags of KITTI and KITTI-360, between these frames also the sweep and the
            pose of every n-th one, without images; 0 = of none.
        held: Draw from other ranges than for training: wider streets, darkness, higher sensors.
        busy: Streets for training, but most cars near the ego car drive.
        landmark: Put a red cube on the street, 15 m ahead and 3.5 m left of the first frame.
        marked_cube: An empty plain with one cube, the test of axes.
        cameras: Only these cameras of the rig, e.g. image_2 image_3; in bags and pictures.
        bag: Folder for the bags.
        raw_images: In bags, pixels instead of PNG (KITTI, KITTI-360) or JPEG (nuScenes).
        tree: Folder for the data set as it would lie on disk.
        layout: Which one; by default the first that goes with the rig.
        pictures: Folder for pictures and a contact sheet of each street.
        jobs: Processes; streets, or the frames of a single street, are shared out among them.
        resume: Leave out streets whose bag is there and whole.
    """

    rig: Rig = "kitti"
    preset: Literal["tiny", "small", "full"] = "tiny"
    seed: tuple[int, ...] = (7,)
    split: Literal["unit", "small-train", "small-val"] | None = None
    frames: int = 6
    every: int = 1
    sweeps_every: int = 0
    held: bool = False
    busy: bool = False
    landmark: bool = False
    marked_cube: bool = False
    cameras: tuple[str, ...] = ()
    bag: Path | None = None
    raw_images: bool = False
    tree: Path | None = None
    layout: Layout | None = None
    pictures: Path | None = None
    jobs: Annotated[int, arg(aliases=["-j"])] = 1
    resume: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run `occ world`."""
    options = tyro.cli(
        WorldOptions,
        prog="occ world",
        description=DESCRIPTION,
        args=list(arguments) or ["--help"],
    )
    return run(options, Console(highlight=False, soft_wrap=True))


def run(options: WorldOptions, console: Console) -> int:
    """Compute what is asked for.

    Returns:
        Exit code.

    Raises:
        ConfigError: Nothing is asked for, or it contradicts itself.
        OccError: It cannot be written.
    """
    if options.bag is None and options.tree is None and options.pictures is None:
        raise ConfigError("say what to make: --bag, --tree or --pictures with a folder")
    if options.jobs < 1:
        raise ConfigError(f"--jobs {options.jobs}: at least one process is needed")
    if options.every < 1:
        raise ConfigError(f"--every {options.every}: it is 1 or more")
    if options.sweeps_every < 0:
        raise ConfigError(f"--sweeps-every {options.sweeps_every}: it is 0 or more")
    scenes, layout = find_scenes(options), find_layout(options)
    if options.pictures is not None:
        with writing(options.pictures):
            draw(scenes, options.pictures, console)
    if options.tree is not None:
        with writing(options.tree):
            write_trees(scenes, layout, options, console)
    return 0 if options.bag is None else write_bags(scenes, options, console)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make a folder; say in one sentence if it cannot be written.

    Raises:
        ConfigError: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        place = error.filename or folder
        raise ConfigError(
            f"{place} cannot be written ({error.strerror}): choose another place"
        ) from error


def find_scenes(options: WorldOptions) -> list[WorldScene]:
    """The streets that are asked for.

    Raises:
        ConfigError: Impossible numbers, held or busy seeds that are in a split, or a camera
            that the rig does not have.
    """
    from occ_training.convert.world_bag import WorldScene
    from occ_training.world.config import (
        BUSY_RANGES,
        HELD_RANGES,
        SPLITS,
        WorldConfig,
        held_configs,
    )
    from occ_training.world.rigs import build_rig

    if options.held and options.busy:
        raise ConfigError("--held and --busy draw from different ranges: choose one")
    if options.split is not None and (options.held or options.busy):
        kind = "--held" if options.held else "--busy"
        raise ConfigError(f"{kind} has seeds of its own: leave out --split, give --seed")
    seeds = list(options.seed if options.split is None else SPLITS[options.split])
    base = WorldConfig(
        options.rig,
        options.preset,
        frames=options.frames,
        marked_cube=options.marked_cube,
        landmark=options.landmark,
    )
    if options.held or options.busy:
        ranges = HELD_RANGES if options.held else BUSY_RANGES
        configs = held_configs(seeds, base, ranges)
    else:
        configs = [replace(base, seed=seed) for seed in seeds]
    known = [camera.name for camera in build_rig(options.rig, options.preset).cameras]
    if strangers := set(options.cameras) - set(known):
        named = ", ".join(sorted(strangers))
        raise ConfigError(f"rig {options.rig} has no camera {named}; it has: {', '.join(known)}")
    split = "held" if options.held else "busy" if options.busy else options.split or ""
    jobs = options.jobs if len(seeds) == 1 else 1
    cameras, every = options.cameras or None, (options.every, options.sweeps_every)
    return [WorldScene(c, cameras, jobs, *every, split=split) for c in configs]


def write_bags(scenes: list[WorldScene], options: WorldOptions, console: Console) -> int:
    """Write a bag of each street; tells the exit code."""
    from occ_training.convert.content import Options
    from occ_training.convert.runner import convert

    reports, settings = [], Options(raw_images=options.raw_images)
    with progress_bars(console, len(scenes)) as (bars, tell):
        for report in convert(
            scenes, options.bag, settings, jobs=options.jobs, resume=options.resume, progress=tell
        ):
            reports.append(report)
            bars.update(bars.task_ids[0], completed=len(reports))
    show_inventory(console, reports)
    if all(report.failed for report in reports):
        return NOTHING
    return PARTLY if any(report.problems for report in reports) else 0


def find_layout(options: WorldOptions) -> str:
    """The layout of the tree; nothing where none is wanted.

    Raises:
        ConfigError: The rig's data set is another one.
    """
    from occ_training.convert.world_trees import WRITERS

    if options.tree is None:
        return ""
    fitting = [name for name, (rigs, _) in WRITERS.items() if options.rig in rigs]
    if not fitting:
        raise ConfigError(f"rig {options.rig} has no layout of its own: leave out --tree")
    if options.layout is not None and options.layout not in fitting:
        raise ConfigError(
            f"layout {options.layout} does not go with rig {options.rig}, which has: "
            f"{', '.join(fitting)}"
        )
    return options.layout or fitting[0]


def write_trees(
    scenes: list[WorldScene], layout: str, options: WorldOptions, console: Console
) -> None:
    """Write streets as sequences, drives or scenes of a data set."""
    from occ_training.convert.world_trees import write_tree
    from occ_training.world.frames import make_frames
    from occ_training.world.scene import build_scene

    first = FIRST_NUMBER.get(layout, OTHERS_FIRST_NUMBER)
    sources: dict[Path, None] = {}  # each once: several streets may lie in one data set
    with progress_bars(console, len(scenes)) as (bars, tell):
        for done, scene in enumerate(scenes):
            frames = make_frames(scene.config, jobs=options.jobs)
            told = _told(frames, scene.name, scene.config.frames, tell)
            # nuScenes' tables are of all scenes: streets of several seeds lie side by side.
            is_alone = layout != "nuscenes" or len(scenes) == 1
            root = options.tree if is_alone else options.tree / scene.name
            source = write_tree(layout, build_scene(scene.config), told, root, first + done)
            bars.update(bars.task_ids[0], completed=done + 1)
            sources[source] = None
    for source in sources:
        console.print(f"tree      occ convert {CONVERTERS.get(layout, layout)} {source} bags")


def _told(frames, name: str, count: int, tell):
    """Pass frames on and count them."""
    for done, frame in enumerate(frames, start=1):
        tell(name, done, count)
        yield frame


def draw(scenes: list[WorldScene], folder: Path, console: Console) -> None:
    """Draw the first frame of each street, and the last one that has voxels."""
    from occ_perception.commands.world_views import draw_frame
    from occ_training.world.frames import Parts, has_voxels, make_frames
    from occ_training.world.scene import build_scene

    for one in scenes:
        scene = build_scene(one.config)
        whole = [i for i in range(one.config.frames) if has_voxels(scene, i)]
        with console.status(f"drawing {one.name}"):
            shown = sorted({whole[0], whole[-1]})
            for frame in make_frames(one.config, Parts(cameras=one.cameras), shown):
                for path in draw_frame(scene, frame, folder):
                    console.print(f"picture   {path}")
