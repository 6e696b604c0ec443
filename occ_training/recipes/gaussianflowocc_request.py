"""GaussianFlowOcc's recipe as the command line asks for it: layers checked, scores on more bags."""

from __future__ import annotations

from occ_perception.core.errors import ConfigError
from occ_training.engine.recipe import Recipe
from occ_training.labels.layers import find_layer
from occ_training.recipes.gaussianflowocc import GaussianFlowOccPreset, build_recipe
from occ_training.recipes.gaussianflowocc_validation import Validation
from occ_training.recipes.request import Request


def build_requested(preset: GaussianFlowOccPreset, request: Request) -> Recipe:
    """The recipe of a preset on the requested bags.

    Raises:
        OccError: Bags, layers or initial weights cannot be used.
    """
    if request.teacher:
        raise ConfigError(
            f"GaussianFlowOcc's teachers answer beforehand, not beside the training: leave out "
            f"--teacher {request.teacher}, run `occ label` and give --layers"
        )
    for drive in request.bags:
        for layer in drive.layers:
            find_layer(layer.parent, layer.name)
    validate = None
    if request.val:
        validate = Validation(preset.network, preset.training.topics, request.val)
    return build_recipe(preset, request.bags, validate)
