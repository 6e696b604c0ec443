"""SceneDINO's recipes as the command line asks for them: teachers by name, scores on bags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from occ_perception.core.errors import ConfigError
from occ_perception.systems.scenedino.model import SceneDino
from occ_perception.systems.scenedino.system import SceneDinoSystem
from occ_perception.weights.files import describe
from occ_perception.weights.load import load_weights
from occ_training.data.augment import ColourJitter
from occ_training.data.bag_scene import Bags
from occ_training.data.field_views import CAMERAS
from occ_training.data.posed_pictures import CLASSES, DEPTH, PictureDrives, PictureSpec
from occ_training.data.sight import LIDAR
from occ_training.engine.checkpointing import CheckpointError, CheckpointFolder
from occ_training.engine.recipe import Recipe
from occ_training.labels.toy_patches import ToyPatchNetwork
from occ_training.recipes.field_validation import Validation
from occ_training.recipes.request import Request
from occ_training.recipes.scenedino import SceneDinoPreset, TrainableSceneDino, build_recipe
from occ_training.recipes.scenedino_classes import ClassesPreset
from occ_training.recipes.scenedino_classes import build_recipe as build_classes_recipe
from occ_training.recipes.scenedino_data import InputDataset, MultiViewDataset
from occ_training.recipes.scenedino_naming import Naming

TOY = "toy"


def build_field(preset: SceneDinoPreset, request: Request) -> Recipe:
    """The first stage on the requested bags.

    Raises:
        OccError: Bags, teacher or initial weights cannot be used.
    """
    config, training, is_toy = preset.network, preset.training, request.teacher == TOY
    truth = (CLASSES, DEPTH) if is_toy else ()
    has_sight = bool(training.weights.sight)
    drives = PictureDrives(
        request.bags,
        PictureSpec(CAMERAS, config.input_size, truth),
        {LIDAR: training.lidar} if has_sight else {},
    )
    dataset = MultiViewDataset(
        drives,
        training.times,
        preset.loop.seed,
        training.sight if has_sight else None,
        ColourJitter() if training.jitters_colours else None,
    )
    return build_recipe(
        preset,
        dataset,
        ToyPatchNetwork(config.feature_channels) if is_toy else None,
        start=lambda network: begin(network, preset, request.teacher),
        validate=Validation(SceneDinoSystem(config), request.val) if request.val else None,
        bags=tuple(scene.name for scene in drives.scenes),
    )


def build_classes(preset: ClassesPreset, request: Request) -> Recipe:
    """The second stage on the requested bags; clusters are named by the further bags, if any.

    Raises:
        OccError: Bags or the field's weights cannot be used.
    """
    training, config, seed = preset.training, preset.network, preset.loop.seed
    if not training.field:
        raise ConfigError(
            "the second stage stands on the first: give its weights as --training.field"
        )

    def views(bags: Sequence[Bags], fisheyes: float) -> InputDataset:
        spec = PictureSpec(CAMERAS, config.input_size, (CLASSES,), CAMERAS[:1])
        return InputDataset(PictureDrives(bags, spec), fisheyes, seed)

    dataset = views(request.bags, training.fisheyes)
    labelled = views([Bags(path) for path in request.val] or request.bags, fisheyes=0.0)
    return build_classes_recipe(
        preset,
        dataset,
        start=lambda network: fill_field(network, Path(training.field)),
        validate=Naming(labelled, training.naming_frames, training.kmeans, seed),
        bags=tuple(scene.name for scene in dataset.source.scenes),
    )


def fill_field(network: SceneDino, weights: Path) -> None:
    """Fill everything but the semantic head with weights of either stage.

    Raises:
        WeightsError: They are of another system or network.
    """
    classes = int(describe(weights).config.get("classes", 0))
    whole = SceneDino(replace(network.config, classes=classes))
    load_weights(whole, weights, "scenedino")
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith("semantics.")}
    network.load_state_dict(state, strict=False)


def begin(network: TrainableSceneDino, preset: SceneDinoPreset, teacher: str) -> None:
    """Fill a network with what it starts from."""
    if not teacher:
        raise ConfigError(
            "SceneDINO learns from the features of a frozen ViT: give its converted weights (occ "
            "weights convert dino ...), or 'toy' in the procedural world, as --teacher"
        )
    if teacher != TOY:
        fill_vits(network, Path(teacher))
    start = Path(preset.training.start)
    if start.is_file():
        fill_field(network, start)
    elif preset.training.start:
        fill_from_run(network, start)


def fill_vits(network: TrainableSceneDino, weights: Path) -> None:
    """Let encoder and frozen twin start as a pretrained ViT.

    Raises:
        WeightsError: The file is another ViT's, or for another image size.
    """
    kind = "dinov2" if "dinov2" in network.config.vit else "dino"
    for encoder in (network.encoder, network.targets.encoder):
        load_weights(encoder, weights, kind)


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
