"""GaussianFlowOcc's recipe as the command line asks for it: layers checked, scores on more bags."""

from __future__ import annotations

from occ_training.engine.recipe import Recipe
from occ_training.recipes.gaussianflowocc import GaussianFlowOccPreset, build_recipe
from occ_training.recipes.gaussianflowocc_validation import Validation
from occ_training.recipes.request import Request


def build_requested(preset: GaussianFlowOccPreset, request: Request) -> Recipe:
    """The recipe of a preset on the requested bags.

    Raises:
        OccError: Bags, layers or initial weights cannot be used.
    """
    request.check_layers("GaussianFlowOcc")
    validate = None
    if request.val:
        validate = Validation(preset.network, preset.training.topics, request.val)
    return build_recipe(preset, request.bags, validate)
