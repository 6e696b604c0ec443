"""The systems by name: the one place that knows them all."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from occ_perception.core.errors import ConfigError
from occ_perception.systems.base import OccupancySystem, Precision
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.system import GaussianFlowOccSystem
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.system import LangOccSystem
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.system import SceneDinoSystem
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.system import ViPOccSystem
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.system import VLSceneSystem


@dataclass(frozen=True)
class SystemEntry:
    """One system of the catalogue.

    Attributes:
        title: What it is, in one line.
        presets: Configurations by name; "published" is always there.
        build: Makes the system from (configuration, device, precision).
    """

    title: str
    presets: Mapping[str, Callable[[], Any]]
    build: Callable[[Any, torch.device, Precision], OccupancySystem]


SYSTEMS: Mapping[str, SystemEntry] = {
    "vlscene": SystemEntry(
        title="stereo pair to 256x256x32 semantic voxels (SemanticKITTI classes)",
        presets={"published": VLSceneConfig, "nano": VLSceneConfig.nano},
        build=VLSceneSystem,
    ),
    "vipocc": SystemEntry(
        title="one image to a density field: occupancy of any grid, and depth",
        presets={
            "published": ViPOccConfig,
            "bts": ViPOccConfig.bts,
            "nano": ViPOccConfig.nano,
        },
        build=ViPOccSystem,
    ),
    "scenedino": SystemEntry(
        title="one image to a field of density and features: classes learnt without labels",
        presets={
            "published": SceneDinoConfig,
            "dinov2": SceneDinoConfig.dinov2,
            "nano": SceneDinoConfig.nano,
        },
        build=SceneDinoSystem,
    ),
    "langocc": SystemEntry(
        title="six surround cameras and prompts to 200x200x16 voxels of any words",
        presets={
            "published": LangOccConfig,
            "reduced": LangOccConfig.reduced,
            "nano": LangOccConfig.nano,
        },
        build=LangOccSystem,
    ),
    "gaussianflowocc": SystemEntry(
        title="six surround cameras to moving semantic Gaussians and 200x200x16 voxels (Occ3D)",
        presets={
            "published": GaussianFlowOccConfig,
            "august2025": GaussianFlowOccConfig.august2025,
            "nano": GaussianFlowOccConfig.nano,
        },
        build=GaussianFlowOccSystem,
    ),
}


def find_system(name: str) -> SystemEntry:
    """Entry of a system.

    Raises:
        ConfigError: There is no such system; the sentence names similar ones.
    """
    if name not in SYSTEMS:
        near = difflib.get_close_matches(name, SYSTEMS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"unknown system '{name}'; {hint}available: {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def build_system(
    name: str,
    *,
    preset: str = "published",
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    grid_frame: str | None = None,
    adapt: Callable[[Any], Any] | None = None,
) -> OccupancySystem:
    """Make a system with random weights; `weights.load.load_weights` fills `system.network`.

    Args:
        name: Key of `SYSTEMS`.
        preset: Key of the entry's `presets`.
        device: Where it runs.
        precision: "fp32", "bf16" or "fp16".
        grid_frame: Frame of the grid if it is not the configuration's.
        adapt: Turns the preset's configuration into the one that is wanted.

    Raises:
        ConfigError: The name or the preset is not known.
    """
    entry = find_system(name)
    if preset not in entry.presets:
        raise ConfigError(
            f"system '{name}' has no preset '{preset}'; available: {', '.join(entry.presets)}"
        )
    config = entry.presets[preset]()
    if grid_frame:
        config = replace(config, frame_id=grid_frame)
    if adapt:
        config = adapt(config)
    return entry.build(config, torch.device(device), precision)
