"""The command line `occ`. Finds the command and reports errors; the work is in `commands`.

Nothing heavy is imported here: `occ --help` answers at once.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from occ_perception.core.errors import ConfigError, OccError

ERROR, INTERRUPTED = 2, 130


@dataclass(frozen=True)
class Command:
    """One word after `occ`.

    Attributes:
        module: Module with `main(arguments) -> int`.
        summary: What it does, in one line.
        example: A line that works.
    """

    module: str
    summary: str
    example: str


COMMANDS = {
    "demo": Command(
        "occ_perception.commands.demo",
        "camera bag -> node -> voxels: a bag, pictures and a table, in a few minutes",
        "occ demo --output demo",
    ),
    "run": Command(
        "occ_perception.commands.run",
        "start a system's node; with --bag also play and record",
        "occ run vlscene --bag kitti_06 --output voxels",
    ),
    "play": Command(
        "occ_perception.commands.play",
        "play a bag into ROS topics, if wanted at the pace of a slow node",
        "occ play kitti_06 --to vlscene --wait",
    ),
    "train": Command(
        "occ_perception.commands.train",
        "train a system on bags",
        "occ train vlscene --preset nano --data world/train_* --output runs/nano",
    ),
    "label": Command(
        "occ_perception.commands.label",
        "keep a teacher's answers as label layers beside the bags",
        "occ label lseg bags/kitti_06 layers --weights lseg.safetensors",
    ),
    "eval": Command(
        "occ_perception.commands.eval",
        "score a system on a bag with voxel truth, offline or live",
        "occ eval vlscene world/val_2000 --weights nano.safetensors --preset nano --live",
    ),
    "floors": Command(
        "occ_perception.commands.floors",
        "what the voxel truth of bags scores without any network",
        "occ floors world/val/* --train world/train/*",
    ),
    "weights": Command(
        "occ_perception.commands.weights",
        "convert official checkpoints, look into weights files",
        "occ weights convert vlscene official.pth vlscene.safetensors",
    ),
    "words": Command(
        "occ_perception.commands.words",
        "vectors of words, and the small space that LangOcc Reduced learns them in",
        "occ words embed occ3d_v1 words.safetensors",
    ),
    "convert": Command(
        "occ_perception.commands.convert",
        "turn a data set on disk into bags: KITTI, SemanticKITTI, KITTI-360, nuScenes, Occ3D ...",
        "occ convert semantickitti ~/kitti/dataset bags --split val",
    ),
    "world": Command(
        "occ_perception.commands.world",
        "compute a street: bags, data sets on disk and pictures with all the truth there is",
        "occ world --pictures out/street --bag bags",
    ),
    "bag": Command(
        "occ_perception.commands.bag",
        "look into a bag: topics, cameras, frames, gaps; LiDAR and voxels over its images",
        "occ bag info kitti_06",
    ),
    "bench": Command(
        "occ_perception.commands.bench",
        "measure speed and memory on this machine",
        "occ bench --list",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Command line without the program's name; by default this process's.

    Returns:
        Exit code: 0 done, 2 refused with one sentence on standard error, 130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    if not given or given[0] in ("-h", "--help", "help"):
        show_help()
        return 0
    try:
        return find(given[0])(given[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except OccError as error:
        if debug:
            raise
        sys.stderr.write(f"occ {given[0]}: {error}\n")
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if debug or missing == "occ_perception":
            raise
        sys.stderr.write(
            f"occ {given[0]}: the Python package '{missing}' is missing here; "
            "run `make setup`, or source your ROS workspace\n"
        )
    return ERROR


def find(name: str) -> Callable[[Sequence[str]], int]:
    """The `main` of a command.

    Raises:
        ConfigError: There is no such command; the sentence names similar ones.
    """
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"unknown command; {hint}there are: {', '.join(COMMANDS)}")
    return importlib.import_module(COMMANDS[name].module).main


def show_help() -> None:
    """Print what `occ` can do, with one example each."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print("[bold]occ[/]: 3D semantic occupancy from cameras, live in ROS 2\n")
    table = Table.grid(padding=(0, 3))
    for name, command in COMMANDS.items():
        table.add_row(f"  [bold cyan]occ {name}[/]", command.summary)
        table.add_row("", f"[dim]{command.example}[/]")
    console.print(table)
    console.print("\n  [bold]occ COMMAND --help[/] lists the options of a command.")
    console.print("  [bold]--debug[/] shows where an error came from.")


if __name__ == "__main__":
    sys.exit(main())
