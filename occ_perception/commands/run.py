"""`occ run`: start a system's node; with a bag also a player, with an output also a recorder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import Positional, arg

from occ_perception.commands.running import check_complete, report, run_bag, run_live, tell_answers
from occ_perception.ros.launch_plan import LaunchArguments, node_name, systems

NOTHING_PUBLISHED = 1

DESCRIPTION = """Start a system's node, and with --bag a player and a recorder beside it.

Examples:
  occ run vlscene --bag kitti_06 --output voxels      (every pair gets an answer, then it ends)
  occ run vlscene --bag kitti_06 --no-wait            (at the pace of the bag)
  occ run vlscene --left-image /cam/left/image_rect --right-image /cam/right/image_rect
  occ run vlscene --compressed     and in another terminal: occ play kitti_06 --to vlscene --wait

Exit code: 0 = done, 1 = nothing was published, 2 = refused or a process failed, 130 = Ctrl-C."""


def main(arguments: Sequence[str]) -> int:
    """Run `occ run`."""
    given = list(arguments) or ["--help"]
    options = tyro.cli(options_class(), prog="occ run", description=DESCRIPTION, args=given)
    node_name(options.system)
    names = [field.name for field in dataclasses.fields(LaunchArguments)]
    chosen = LaunchArguments(**{name: getattr(options, name) for name in names})
    console = Console(highlight=False, stderr=False)
    if not chosen.bag:
        run_live(options.system, chosen, console)
        if not chosen.output:
            return 0
        published = report(Path(chosen.output), console).published
    else:
        watch = run_bag(options.system, chosen, console)
        published = watch.published
        if chosen.output:
            check_complete(report(Path(chosen.output), console), watch, chosen.output)
        else:
            tell_answers(watch, console)
    return 0 if published else NOTHING_PUBLISHED


def options_class() -> type[Any]:
    """Command line options, made of the launch arguments, so that the two cannot drift apart."""
    about = f"System to run: {', '.join(systems())}."
    system = Annotated[Positional[str], arg(help=about, metavar="SYSTEM")]
    options: list[tuple[str, Any, Any]] = [("system", system, dataclasses.field())]
    for item in dataclasses.fields(LaunchArguments):
        kind = Annotated[type(item.default), arg(help=item.metadata["description"])]
        options.append((item.name, kind, dataclasses.field(default=item.default)))
    return dataclasses.make_dataclass("RunOptions", options, frozen=True)
