"""ViPOcc's recipe as the command line asks for it: bags, splits, pseudo depth by name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from occ_perception.core.errors import ConfigError
from occ_perception.systems.vipocc.system import ViPOccSystem
from occ_training.data.augment import ColourJitter
from occ_training.data.field_views import SampleViews
from occ_training.data.frame_lists import Frame, leak, read_frames
from occ_training.data.posed_pictures import CLASSES, DEPTH, PictureDrives, PictureSpec
from occ_training.data.rectify import FisheyeView
from occ_training.data.sight import LIDAR
from occ_training.engine.recipe import Recipe
from occ_training.recipes.field_validation import Validation
from occ_training.recipes.request import Request
from occ_training.recipes.vipocc import build_recipe
from occ_training.recipes.vipocc_data import (
    Anchors,
    Extras,
    FieldDataset,
    LayerDepth,
    PseudoDepth,
    ToyDepth,
)
from occ_training.recipes.vipocc_presets import ViPOccPreset


def build_requested(preset: ViPOccPreset, request: Request) -> Recipe:
    """The recipe of a preset on the requested bags.

    Raises:
        OccError: Bags, layers or initial weights cannot be used.
    """
    train, test = (
        read_frames(Path(file)) if file else None
        for file in (preset.training.split.train, preset.training.split.test)
    )
    dataset = make_dataset(preset, request, train)
    record = {
        "bags": sorted(scene.name for scene in dataset.source.scenes),
        "pseudo_depth": (request.teacher or "labels") if preset.network.depth_branch else "",
        "warning": leak(train or dataset.frames(), test or frozenset()),
    }
    validate = Validation(ViPOccSystem(preset.network), request.val) if request.val else None
    return build_recipe(preset, dataset, validate, record)


def make_dataset(
    preset: ViPOccPreset, request: Request, only: Collection[Frame] | None = None
) -> FieldDataset:
    """Samples of the requested bags.

    Args:
        preset: Network and training.
        request: Bags and where pseudo depth comes from.
        only: Frames that are wanted; None = all.

    Raises:
        OccError: Bags or layers cannot be used.
    """
    training, config = preset.training, preset.network
    topics = training.topics
    pseudo = _pseudo_depth(request, topics.stereo) if config.depth_branch else None
    is_snog = training.sampler != "random"
    truth = [DEPTH] if isinstance(pseudo, ToyDepth) else []
    height, width = config.input_size
    spec = PictureSpec(
        cameras=(*topics.stereo, *topics.fisheyes),
        size=config.input_size,
        truth=(*truth, *([CLASSES] if is_snog else [])),
        fisheye=FisheyeView(width, height),
        world_frame=topics.world_frame,
    )
    layers = pseudo.topics() if isinstance(pseudo, LayerDepth) else {}
    if training.weights.supervised or training.weights.sight:
        if not topics.lidar:
            raise ConfigError("supervision by LiDAR needs its topic: give training.topics.lidar")
        layers |= {LIDAR: topics.lidar}
    extras = Extras(
        pseudo_depth=pseudo,
        hole_depth_m=config.pseudo_depth_max_m,
        lidar=bool(training.weights.supervised),
        sight=training.sight if training.weights.sight else None,
        anchors=Anchors(training.patches // 4, training.patch) if is_snog else None,
        colours=ColourJitter() if training.jitters_colours else None,
    )
    source = PictureDrives(request.bags, spec, layers)
    views = SampleViews(source, training.times, preset.loop.seed, only)
    return FieldDataset(views, extras)


def _pseudo_depth(request: Request, folders: tuple[str, ...]) -> PseudoDepth:
    if request.teacher == "toy":
        return ToyDepth()
    if request.teacher:
        raise ConfigError(
            f"no teacher '{request.teacher}' runs beside ViPOcc's training: label the bags with "
            "`occ label depth` and give --layers, or use toy in the procedural world"
        )
    return LayerDepth(folders)
