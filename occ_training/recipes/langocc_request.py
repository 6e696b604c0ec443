"""LangOcc's recipe as the command line asks for it: layers checked, scores on more bags."""

from __future__ import annotations

from occ_training.engine.recipe import Recipe
from occ_training.recipes.langocc import LangOccPreset, build_recipe
from occ_training.recipes.langocc_validation import Validation
from occ_training.recipes.request import Request


def build_requested(preset: LangOccPreset, request: Request) -> Recipe:
    """The recipe of a preset on the requested bags.

    Raises:
        OccError: Bags, layers, embeddings or initial weights cannot be used.
    """
    request.check_layers("LangOcc")
    validate = Validation(preset, request.val) if request.val else None
    return build_recipe(preset, request.bags, validate)
