"""LangOcc's recipe as the command line asks for it: layers checked, scores on more bags."""

from __future__ import annotations

from occ_perception.core.errors import ConfigError
from occ_training.engine.recipe import Recipe
from occ_training.labels.layers import find_layer
from occ_training.recipes.langocc import LangOccPreset, build_recipe
from occ_training.recipes.langocc_validation import Validation
from occ_training.recipes.request import Request


def build_requested(preset: LangOccPreset, request: Request) -> Recipe:
    """The recipe of a preset on the requested bags.

    Raises:
        OccError: Bags, layers, embeddings or initial weights cannot be used.
    """
    if request.teacher:
        raise ConfigError(
            f"LangOcc's teacher answers beforehand, not beside the training: leave out "
            f"--teacher {request.teacher}, run `occ label` and give --layers"
        )
    for drive in request.bags:
        for layer in drive.layers:
            find_layer(layer.parent, layer.name)
    validate = Validation(preset, request.val) if request.val else None
    return build_recipe(preset, request.bags, validate)
