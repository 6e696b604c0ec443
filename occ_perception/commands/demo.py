"""`occ demo`: a camera bag in, voxels out, and everything that a person wants to see of it."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from occ_perception.commands import running, streets
from occ_perception.core.errors import ConfigError
from occ_perception.ros.launch_arguments import LaunchArguments
from occ_perception.ros.launch_plan import node_name
from occ_perception.systems.roles import PROMPTED
from occ_perception.weights.shipped import RANDOM, chosen_weights, floors_of

if TYPE_CHECKING:
    from occ_perception.commands.views import Similar
    from occ_perception.ros.watching import AnswerWatch

FRAMES = 4
PROMPTS = "car, person, tree"

DESCRIPTION = """Camera bag -> node -> voxels, as three processes over DDS: player, node, recorder.

Leaves behind a bag for RViz or Foxglove, pictures, and a table of what became of every image.
Without --bag a street is computed (once) with the rig of the system and a red cube that is 1.4 m
wide, 15 m ahead and 3.5 m to the left.

Examples:
  occ demo
  occ demo vipocc                               (one image: density field, depth)
  occ demo scenedino                            (one image: field, depth, features, classes)
  occ demo langocc --prompts "car, person, tree"    (six cameras, any words)
  occ demo gaussianflowocc                      (six cameras, moving Gaussians)
  occ demo --preset published --weights vlscene.safetensors
  occ demo --bag kitti_06 --output out/kitti_06"""


@dataclass(frozen=True)
class DemoOptions:
    """Camera bag in, voxels out, as three processes.

    Attributes:
        system: vlscene, vipocc, scenedino, langocc or gaussianflowocc.
        bag: Bag with the calibrated cameras of the system and TF; a computed street by default.
        output: Folder for the bag and the pictures; out/demo, for another system out/SYSTEM.
        preset: Size of the network: published, nano (a tenth of its width) or another one of the
            system's; by default published where there is a GPU or weights are given, else nano.
        weights: Converted weights, a .safetensors file; by default those shipped for the preset,
            "random" for none.
        prompts: Words that langocc looks for, with commas between; voxels that none of them fits
            are "something else".
        device: cpu, cuda:0 or the like; auto = the first GPU, else the CPU.
        frames: Sets of images of the computed street.
        seed: Which street is computed; by default one of small-val, which no training has seen.
    """

    system: Annotated[Positional[str], arg(metavar="[SYSTEM]")] = "vlscene"
    bag: Path | None = None
    output: Path | None = None
    preset: str | None = None
    weights: str = ""
    prompts: str = PROMPTS
    device: str = "auto"
    frames: int = FRAMES
    seed: int = 2000

    @property
    def folder(self) -> Path:
        """Where bag and pictures go."""
        return self.output or Path("out") / ("demo" if self.system == "vlscene" else self.system)

    @property
    def words(self) -> tuple[str, ...]:
        """What is looked for; nothing by systems with classes of their own."""
        words = self.prompts.split(",") if self.system in PROMPTED else ()
        return tuple(word.strip() for word in words if word.strip())


def main(arguments: Sequence[str]) -> int:
    """Run `occ demo`."""
    options = tyro.cli(DemoOptions, prog="occ demo", description=DESCRIPTION, args=arguments)
    console = Console(highlight=False, soft_wrap=True)
    node_name(options.system)
    if options.bag is not None and not options.bag.exists():
        raise ConfigError(f"there is no bag at {options.bag}: check --bag")
    keep_to_this_machine()
    street = streets.STREETS[options.system]
    bag = options.bag or streets.compute(street, options.frames, options.seed, console)
    preset = options.preset or choose_preset(options, console)
    weights = chosen_weights(options.weights, options.system, preset)
    similar: dict[str, Any] = {}
    chosen = LaunchArguments(
        bag=str(bag),
        output=str(options.folder / "bag"),
        overwrite=True,
        weights=str(weights or RANDOM),
        device=options.device,
        preset=preset,
        prompts=options.words,
    )
    running.run_bag(
        options.system,
        chosen,
        console,
        at_end=lambda watch: similar.update(ask_similar(options, watch)),
    )
    summary = running.report(options.folder / "bag", console)
    show(options, bag, weights.name if weights else f"random, {preset}", similar, console)
    if weights is not None and not options.words:  # voxels of words are no classes of the truth
        show_scores(options.folder / "bag", bag, weights, console)
    if weights is None:
        console.print("[bold yellow]the weights are RANDOM: the voxels mean nothing[/]")
    return 0 if summary.published else 1


def ask_similar(options: DemoOptions, watch: AnswerWatch) -> Similar:
    """Cosines of the last set's voxels with every prompt."""
    from occ_msgs.srv import QueryText
    from occ_perception.commands.bag_content import similarity_of

    service = f"/{node_name(options.system)}/query_text"
    answers = {text: watch.ask(QueryText, service, text=text) for text in options.words}
    return {t: similarity_of(a.grid) for t, a in answers.items() if a is not None and a.success}


def show(options: DemoOptions, bag: Path, weights: str, similar: Similar, console: Console) -> None:
    """Draw the pictures and say where everything is."""
    from occ_perception.commands.views import draw_run

    output = options.folder / "bag"
    with console.status("drawing pictures"):
        pictures = draw_run(output, bag, options.folder, options.system, weights, similar)
    view = f"config/{options.system}.rviz"
    console.print(f"\nbag       {output}   (RViz: {view}; Foxglove: open the .mcap)")
    for picture in pictures:
        console.print(f"picture   {picture}")


def show_scores(output: Path, source: Path, weights: Path, console: Console) -> None:
    """Score the run beside the floors that come with shipped weights, where there is truth."""
    from occ_perception.commands import floors
    from occ_training.world.bag_floors import FloorMaps, has_voxel_truth, score_recording

    maps = floors_of(weights)
    if not maps.is_file() or not has_voxel_truth(source):
        return
    scores = score_recording(output, source, weights.stem, FloorMaps.load(maps))
    if not scores:
        console.print("no scores: the truth has other classes; occ eval scores them")
        return
    floors.show("this run, and what needs no eyes", scores, console)
    console.print(f"card      {weights.with_suffix('.md')}")


def keep_to_this_machine() -> None:
    """Choose a ROS domain of its own on this machine: a demo must not talk to a robot."""
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randrange(102))


def choose_preset(options: DemoOptions, console: Console) -> str:
    """The published network where it is quick or wanted, else its small twin; says so."""
    import torch

    has_file = options.weights not in ("", RANDOM)
    if has_file or (options.device != "cpu" and torch.cuda.is_available()):
        return "published"
    console.print(
        "no GPU: the demo runs the [bold]nano[/] preset, every module at a tenth of its width; "
        "--preset published runs the whole network, a minute or so per set on a CPU"
    )
    return "nano"
