"""`occ demo`: a camera bag in, voxels out, and everything that a person wants to see of it."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from occ_perception.commands import running
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.ros.launch_plan import LaunchArguments

SYSTEM = "vlscene"
STEREO = ("image_2", "image_3")  # KITTI's colour pair
MOST_JOBS = 4  # each process scans the street for itself, more of them gain little

DESCRIPTION = """Camera bag -> node -> voxels, as three processes over DDS: player, node, recorder.

Leaves behind a bag for RViz or Foxglove, pictures, and a table of what became of every image.
Without --bag a street is computed (once), with a red cube that is 1.4 m wide, 15 m ahead and 3.5 m
to the left. Without --weights the weights are random: everything runs, nothing is recognised.

Examples:
  occ demo
  occ demo --preset published --weights vlscene.safetensors
  occ demo --bag kitti_06 --output out/kitti_06"""


@dataclass(frozen=True)
class DemoOptions:
    """Camera bag in, voxels out, as three processes.

    Attributes:
        bag: Bag with a calibrated stereo pair and TF; a computed street by default.
        output: Folder for the bag and the pictures.
        preset: Size of the network: published, or nano (a tenth of its width); by default
            published where there is a GPU or weights are given, else nano.
        weights: Converted weights, a .safetensors file; random by default.
        device: cpu, cuda:0 or the like; auto = the first GPU, else the CPU.
        frames: Stereo pairs of the computed street.
        seed: Which street is computed.
    """

    bag: Path | None = None
    output: Path = Path("out/demo")
    preset: str | None = None
    weights: Path | None = None
    device: str = "auto"
    frames: int = 4
    seed: int = 7


def main(arguments: Sequence[str]) -> int:
    """Run `occ demo`."""
    options = tyro.cli(DemoOptions, prog="occ demo", description=DESCRIPTION, args=arguments)
    console = Console(highlight=False, soft_wrap=True)
    if options.bag is not None and not options.bag.exists():
        raise ConfigError(f"there is no bag at {options.bag}: check --bag")
    keep_to_this_machine()
    bag = options.bag or street(options.frames, options.seed, console)
    preset = options.preset or choose_preset(options, console)
    weights = str(options.weights) if options.weights else ""
    output = options.output / "bag"
    chosen = LaunchArguments(
        bag=str(bag),
        output=str(output),
        overwrite=True,
        weights=weights,
        device=options.device,
        preset=preset,
    )
    running.run_bag(SYSTEM, chosen, console)
    summary = running.report(output, console)

    from occ_perception.commands.views import draw_run

    shown = Path(weights).name or f"random, {preset}"
    with console.status("drawing pictures"):
        pictures = draw_run(output, bag, options.output, SYSTEM, shown)
    console.print(f"\nbag       {output}   (RViz: config/vlscene.rviz; Foxglove: open the .mcap)")
    for picture in pictures:
        console.print(f"picture   {picture}")
    if not weights:
        console.print("[bold yellow]the weights are RANDOM: the voxels mean nothing[/]")
    return 0 if summary.published else 1


def keep_to_this_machine() -> None:
    """Choose a ROS domain of its own on this machine: a demo must not talk to a robot."""
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randrange(102))


def cache_folder() -> Path:
    """Where things are kept that can be computed again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "occ_perception"


def street(frames: int, seed: int, console: Console, size: str = "full") -> Path:
    """The computed bag, from the cache where it was made before.

    Args:
        frames: Stereo pairs.
        seed: Which street.
        console: Where progress is shown.
        size: Preset of the world; "full" has images as KITTI has them.

    Raises:
        BagError: It cannot be written.
    """
    from occ_perception.commands.convert import progress_bars
    from occ_training.convert.content import Options
    from occ_training.convert.runner import VERSION, convert_scene
    from occ_training.convert.world_bag import WorldScene
    from occ_training.world.config import WORLD_VERSION, WorldConfig

    config = WorldConfig(preset=size, seed=seed, frames=frames, movers=False, landmark=True)
    jobs = min(frames, os.cpu_count() or 1, MOST_JOBS)
    scene = WorldScene(config, cameras=STEREO, jobs=jobs)
    folder = cache_folder() / f"street_{WORLD_VERSION}.{VERSION}_{frames}frames"
    path = folder / scene.name
    if not (path / "metadata.yaml").is_file():
        console.print(f"computing a street: {frames} stereo pairs, seed {seed}")
        with progress_bars(console, 1) as (_, tell):
            report = convert_scene(scene, folder, Options(), tell)
        if report.problems:
            raise BagError("; ".join(report.problems))
    console.print(f"input     {path}")
    return path


def choose_preset(options: DemoOptions, console: Console) -> str:
    """The published network where it is quick or wanted, else its small twin; says so."""
    import torch

    if options.weights or (options.device != "cpu" and torch.cuda.is_available()):
        return "published"
    console.print(
        "no GPU: the demo runs the [bold]nano[/] preset, every module at a tenth of its width; "
        "--preset published runs the whole network, a minute or so per pair on a CPU"
    )
    return "nano"
