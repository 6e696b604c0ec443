"""`occ weights`: convert official checkpoints, look into weights files."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from occ_perception.core.errors import ConfigError

DESCRIPTION = """Weights files: official checkpoints are converted once to safetensors.

Examples:
  occ weights convert vlscene official.pth vlscene.safetensors
  occ weights show vlscene.safetensors"""

# System -> where the class is that maps its official checkpoint to ours.
CHECKPOINTS = {
    "vlscene": ("occ_perception.systems.vlscene.checkpoint", "VLSceneCheckpoint"),
    "vipocc": ("occ_perception.systems.vipocc.checkpoint", "ViPOccCheckpoint"),
    "scenedino": ("occ_perception.systems.scenedino.checkpoint", "SceneDinoCheckpoint"),
    "langocc": ("occ_perception.systems.langocc.checkpoint", "LangOccCheckpoint"),
    "gaussianflowocc": (
        "occ_perception.systems.gaussianflowocc.checkpoint",
        "GaussianFlowOccCheckpoint",
    ),
    "repvit": ("occ_perception.systems.vlscene.checkpoint", "BackboneCheckpoint"),
    "resnet50": ("occ_perception.systems.gaussianflowocc.checkpoint", "ResNetCheckpoint"),
    "dino": ("occ_perception.systems.scenedino.dino_checkpoint", "DinoCheckpoint"),
    "dinov2": ("occ_perception.systems.scenedino.dino_checkpoint", "DinoV2Checkpoint"),
    "lseg": ("occ_training.labels.lseg", "LSegCheckpoint"),
    "depth_prior": ("occ_perception.blocks.depth_prior", "DepthPriorCheckpoint"),
    "maskclip_plus": ("occ_training.labels.maskclip", "StudentCheckpoint"),
    "maskclip": ("occ_training.labels.maskclip", "ClipCheckpoint"),
}


def main(arguments: Sequence[str]) -> int:
    """Run `occ weights`."""
    return tyro.extras.subcommand_cli_from_dict(
        {"convert": convert, "show": show},
        prog="occ weights",
        description=DESCRIPTION,
        args=list(arguments) or ["--help"],
    )


def convert(system: Positional[str], source: Positional[Path], target: Positional[Path]) -> int:
    """Convert an official checkpoint to a safetensors file with its JSON side file.

    The file is read without running anything in it. What is left out on purpose is listed; any
    other difference to the network is refused.

    Args:
        system: System that the checkpoint belongs to, e.g. vlscene.
        source: Official file as downloaded, e.g. official.pth.
        target: File to write, ending in .safetensors.
    """
    checkpoint_map = find_checkpoint_map(system)
    from occ_perception.weights.convert import convert_file

    console = Console(highlight=False)
    with console.status(f"reading {source.name}"):
        report = convert_file(checkpoint_map, source, target)
    console.print(
        f"{target}: {report.kept} tensors, {report.parameters / 1e6:.2f} M values", soft_wrap=True
    )
    for reason, count in report.dropped.items():
        console.print(f"  left out on purpose: {count} ({reason})", soft_wrap=True)
    return 0


def show(file: Positional[Path]) -> int:
    """Show what a converted weights file is: system, source, licence, sizes, hashes.

    Args:
        file: The .safetensors file; its .json lies beside it.
    """
    from dataclasses import asdict

    from occ_perception.weights.files import describe

    table = Table(title=str(file), show_header=False, title_justify="left")
    for name, value in asdict(describe(file)).items():
        is_tree = isinstance(value, dict)
        text = ", ".join(f"{k}={v}" for k, v in value.items()) if is_tree else str(value)
        table.add_row(name, text)
    Console(highlight=False).print(table)
    return 0


def find_checkpoint_map(system: str):
    """Map of a system's official checkpoints.

    Raises:
        ConfigError: No such system, or none of its checkpoints can be converted.
    """
    if system not in CHECKPOINTS:
        near = difflib.get_close_matches(system, CHECKPOINTS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"unknown system '{system}'; {hint}available: {', '.join(CHECKPOINTS)}")
    module, name = CHECKPOINTS[system]
    return getattr(importlib.import_module(module), name)()
