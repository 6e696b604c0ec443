"""`occ run`: start a system's node; with a bag also a player, with an output also a recorder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import arg

from occ_perception.commands.running import check_complete, report, run_bag, run_live, tell_answers
from occ_perception.core.errors import ConfigError
from occ_perception.ros.launch_arguments import declared_arguments, from_values
from occ_perception.ros.launch_plan import node_name, systems
from occ_perception.systems.catalog import find_system

NOTHING_PUBLISHED = 1

DESCRIPTION = """Start a system's node, and with --bag a player and a recorder beside it.

Examples:
  occ run vlscene --bag kitti_06 --output voxels      (every pair gets an answer, then it ends)
  occ run vlscene --bag kitti_06 --no-wait            (at the pace of the bag)
  occ run langocc --bag street --prompts "car, person, tree"
  occ run vlscene --left-image /cam/left/image_rect --right-image /cam/right/image_rect
  occ run vlscene --compressed     and in another terminal: occ play kitti_06 --to vlscene --wait

Exit code: 0 = done, 1 = nothing was published, 2 = refused or a process failed, 130 = Ctrl-C."""


def main(arguments: Sequence[str]) -> int:
    """Run `occ run`."""
    given = list(arguments) or ["--help"]
    system, rest = (None, given) if given[0].startswith("-") else (given[0], given[1:])
    if system is None:  # asked for help, or options before the system
        show_help(given)
        return 0
    node_name(system)
    options = tyro.cli(
        options_class(system), prog=f"occ run {system}", description=DESCRIPTION, args=rest
    )
    chosen = from_values(system, dataclasses.asdict(options))
    console = Console(highlight=False, stderr=False)
    if not chosen.bag:
        run_live(system, chosen, console)
        if not chosen.output:
            return 0
        published = report(Path(chosen.output), console).published
    else:
        watch = run_bag(system, chosen, console)
        published = watch.published
        if chosen.output:
            check_complete(report(Path(chosen.output), console), watch, chosen.output)
        else:
            tell_answers(watch, console)
    return 0 if published else NOTHING_PUBLISHED


def show_help(given: Sequence[str]) -> None:
    """What can be run; the options depend on the system, for its cameras are among them.

    Raises:
        ConfigError: It was not help that was asked for.
    """
    if not set(given) & {"-h", "--help"}:
        raise ConfigError(f"name the system first: {', '.join(systems())}")
    console = Console(highlight=False)
    console.print(f"usage: occ run SYSTEM [OPTIONS]\n\n{DESCRIPTION}\n\nSystems:", markup=False)
    for name in systems():
        console.print(f"  {name:16} {find_system(name).title}", markup=False)
    console.print("\n`occ run SYSTEM --help` lists the options of a system.")


def options_class(system: str) -> type[Any]:
    """Command line options, made of the launch arguments, so that the two cannot drift apart."""
    options = [
        (
            item.name,
            Annotated[type(item.value), arg(help=item.description)],
            dataclasses.field(default=item.value),
        )
        for item in declared_arguments(system)
    ]
    return dataclasses.make_dataclass("RunOptions", options, frozen=True)
