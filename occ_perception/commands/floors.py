"""`occ floors`: what the voxel truth of bags scores without any network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from occ_perception.commands.camera_options import cameras_option, unclear_cameras
from occ_perception.core.errors import ConfigError
from occ_perception.eval.report import percent
from occ_perception.systems.roles import STEREO

if TYPE_CHECKING:
    from occ_perception.eval.protocols import Scores

DESCRIPTION = """Score answers that need no eyes: a network that is not better has learnt nothing.

Answers:
  all free                          nothing is anywhere
  mean map of the training set      the most frequent label of every voxel
  flat ground, class by distance    the ground's usual class at each distance, nothing above
  best map without looking          the one map with the best IoU on the training set
  depth stand-in unprojected        --depth, procedural world: a depth network's stand-in

The table has IoU and mIoU over the whole grid, SemanticKITTI's and SSCBench's way; the option
--floors of `occ eval` scores the same maps in the benchmarks of any system. Give --train or --maps.

Examples:
  occ floors world/val/* --train world/train/*
  occ floors --train world/train/* --output floors.npz
  occ floors world/val/* --maps floors.npz --depth"""


@dataclass(frozen=True)
class FloorOptions:
    """What the voxel truth of bags scores without any network.

    Attributes:
        bags: Bags to score on; none = only learn.
        train: Bags to learn the floors from.
        maps: Floors that were learnt before, an .npz file.
        output: Keep the floors in this .npz file.
        depth: Also unproject the stand-in for a depth network (procedural world).
        cameras: With --depth: image topics of the left and the right camera; empty = found in the
            bags. Needed where a bag has several stereo pairs.
    """

    bags: Annotated[Positional[tuple[Path, ...]], arg(metavar="[BAG...]")] = ()
    train: tuple[Path, ...] = ()
    maps: Path | None = None
    output: Path | None = None
    depth: bool = False
    cameras: tuple[str, ...] = ()


def main(arguments: Sequence[str]) -> int:
    """Run `occ floors`.

    Raises:
        OccError: Bags or floors cannot be read.
    """
    given = list(arguments) or ["--help"]
    options = tyro.cli(FloorOptions, prog="occ floors", description=DESCRIPTION, args=given)
    console = Console(highlight=False)
    if bool(options.train) == bool(options.maps):
        raise ConfigError("give either --train, bags to learn the floors from, or --maps, a file")
    if options.cameras and not options.depth:
        raise ConfigError("--cameras belong to --depth: the other floors look at no image")

    from occ_training.world.bag_floors import FloorMaps, score_floors

    with console.status("learning floors"):
        maps = FloorMaps.load(options.maps) if options.maps else FloorMaps.learn(options.train)
    if options.output is not None:
        maps.save(options.output)
        console.print(f"floors: {options.output}")
    if options.bags:
        with console.status("scoring"), unclear_cameras(cameras_option(STEREO)):
            given = {"with_depth": options.depth, "topics": options.cameras}
            scores = score_floors(options.bags, maps, **given)
        show(f"floors on {len(options.bags)} bags", scores, console)
    return 0


def show(title: str, scores: Mapping[str, Scores], console: Console) -> None:
    """Print IoU and mIoU by name."""
    table = Table(title=title, title_justify="left")
    for name in ("what", "IoU %", "mIoU %"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for name, one in scores.items():
        table.add_row(name, percent(one.iou), percent(one.miou))
    console.print(table)
