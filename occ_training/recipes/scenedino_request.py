"""SceneDINO's recipes as the command line asks for them: teachers by name, scores on bags."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from occ_perception.core.errors import ConfigError
from occ_training.data.field_views import CAMERAS
from occ_training.data.posed_pictures import CLASSES, DEPTH, PictureDrives, PictureSpec
from occ_training.engine.checkpointing import CheckpointError, CheckpointFolder
from occ_training.engine.recipe import Recipe
from occ_training.labels.toy_patches import ToyPatchNetwork
from occ_training.recipes.catalog import Request
from occ_training.recipes.scenedino import SceneDinoPreset, TrainableSceneDino, build_recipe
from occ_training.recipes.scenedino_data import MultiViewDataset
from occ_training.recipes.scenedino_validation import Validation

TOY = "toy"


def build_field(preset: SceneDinoPreset, request: Request) -> Recipe:
    """The first stage on the requested bags.

    Raises:
        OccError: Bags, teacher or initial weights cannot be used.
    """
    config, is_toy = preset.network, request.teacher == TOY
    truth = (CLASSES, DEPTH) if is_toy else ()
    drives = PictureDrives(request.bags, PictureSpec(CAMERAS, config.input_size, truth))
    dataset = MultiViewDataset(drives, preset.training.times, preset.loop.seed)
    return build_recipe(
        preset,
        dataset,
        ToyPatchNetwork(config.feature_channels) if is_toy else None,
        start=lambda network: _begin(network, preset, request.teacher),
        validate=Validation(config, request.val) if request.val else None,
        bags=tuple(scene.name for scene in drives.scenes),
    )


def _begin(network: TrainableSceneDino, preset: SceneDinoPreset, teacher: str) -> None:
    """Fill a network with what it starts from."""
    if preset.training.start:
        fill_from_run(network, Path(preset.training.start))
    elif not teacher:
        raise ConfigError(
            "SceneDINO learns from the features of a frozen ViT: give its converted weights, or "
            "'toy' in the procedural world, as --teacher"
        )


def fill_from_run(network: nn.Module, run: Path) -> None:
    """Take over the newest checkpoint of an earlier run.

    Raises:
        CheckpointError: There is none, or it is of another network.
    """
    checkpoint = CheckpointFolder(run).newest()
    if checkpoint is None:
        raise CheckpointError(f"'{run}' holds no checkpoint to start from")
    try:
        network.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise CheckpointError(f"'{run}' is a run of another network: {error}") from None
