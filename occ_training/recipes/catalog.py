"""The trainings by system: the one place that knows them all."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from occ_perception.core.checkpoint_rules import RuledCheckpoint
from occ_perception.core.errors import ConfigError
from occ_training.engine.recipe import Recipe
from occ_training.recipes.preset import Preset
from occ_training.recipes.request import Request


@dataclass(frozen=True)
class Trainable:
    """How a system is trained.

    Attributes:
        presets: Networks with their trainings by name; each gets the folder of the run.
        build: Makes the recipe; raises `OccError` where bags, teacher or weights do not fit.
        checkpoint: Of a network's configuration, what the exported weights' side file says.
    """

    presets: Mapping[str, Callable[[Path], Preset]]
    build: Callable[[Any, Request], Recipe]
    checkpoint: Callable[[Any], RuledCheckpoint]


def _vlscene() -> Trainable:
    from occ_perception.systems.vlscene.checkpoint import VLSceneCheckpoint
    from occ_training.recipes.vlscene import PRESETS
    from occ_training.recipes.vlscene_request import build_requested

    return Trainable(PRESETS, build_requested, VLSceneCheckpoint)


def _vipocc() -> Trainable:
    from occ_perception.systems.vipocc.checkpoint import ViPOccCheckpoint
    from occ_training.recipes.vipocc_presets import PRESETS
    from occ_training.recipes.vipocc_request import build_requested

    return Trainable(PRESETS, build_requested, ViPOccCheckpoint)


def _scenedino() -> Trainable:
    from occ_perception.systems.scenedino.checkpoint import SceneDinoCheckpoint
    from occ_training.recipes.scenedino import PRESETS
    from occ_training.recipes.scenedino_request import build_field

    return Trainable(PRESETS, build_field, SceneDinoCheckpoint)


def _scenedino_classes() -> Trainable:
    from occ_perception.systems.scenedino.checkpoint import SceneDinoCheckpoint
    from occ_training.recipes.scenedino_classes import PRESETS
    from occ_training.recipes.scenedino_request import build_classes

    return Trainable(PRESETS, build_classes, SceneDinoCheckpoint)


def _gaussianflowocc() -> Trainable:
    from occ_perception.systems.gaussianflowocc.checkpoint import GaussianFlowOccCheckpoint
    from occ_training.recipes.gaussianflowocc import PRESETS
    from occ_training.recipes.gaussianflowocc_request import build_requested

    return Trainable(PRESETS, build_requested, GaussianFlowOccCheckpoint)


def _langocc() -> Trainable:
    from occ_perception.systems.langocc.checkpoint import LangOccCheckpoint
    from occ_training.recipes.langocc import PRESETS
    from occ_training.recipes.langocc_request import build_requested

    return Trainable(PRESETS, build_requested, LangOccCheckpoint)


# Each is imported when it is asked for: one system's training must not need another's libraries.
RECIPES: Mapping[str, Callable[[], Trainable]] = {
    "vlscene": _vlscene,
    "vipocc": _vipocc,
    "scenedino": _scenedino,
    "scenedino_classes": _scenedino_classes,
    "gaussianflowocc": _gaussianflowocc,
    "langocc": _langocc,
}


def find_trainable(system: str) -> Trainable:
    """How a system is trained.

    Raises:
        ConfigError: There is no such system; the sentence names similar ones.
    """
    if system not in RECIPES:
        near = difflib.get_close_matches(system, RECIPES, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"no training of '{system}'; {hint}available: {', '.join(RECIPES)}")
    return RECIPES[system]()
