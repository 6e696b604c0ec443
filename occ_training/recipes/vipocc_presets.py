"""How ViPOcc and BTS are trained, by name (specification 4; KITTI-360 as published first)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_training.data.field_views import FISHEYES, STEREO, ViewTimes
from occ_training.data.sight import SightSpec
from occ_training.engine.ema import EmaConfig
from occ_training.engine.recipe import LoopConfig
from occ_training.engine.schedule import VIPOCC, StepCosine, StepDrops, Warmup
from occ_training.recipes.preset import Preset
from occ_training.recipes.vipocc_step import LossWeights

Sampler = Literal["random", "snog", "snog_published"]


@dataclass(frozen=True)
class FieldTopics:
    """Where in the bags things are.

    Attributes:
        stereo: Folders of the left and right camera's topics.
        fisheyes: Folders of the fisheyes' topics; none = stereo alone (KITTI Raw).
        classes: Class images for SNOG are looked for as the procedural world writes them.
        lidar: Points for `weights.supervised` and `weights.sight`.
        world_frame: Frame of the poses.
    """

    stereo: tuple[str, str] = STEREO
    fisheyes: tuple[str, ...] = FISHEYES
    lidar: str = "/velodyne/points"
    world_frame: str = "map"


@dataclass(frozen=True)
class FrameSplit:
    """Which frames are trained on, as lists of the published form: drive, frame, side per line.

    Attributes:
        train: File with the frames; empty = all frames of the bags.
        test: File with the frames of the test, which are counted among those trained on; what is
            found is written into every checkpoint and report.
    """

    train: str = ""
    test: str = ""


@dataclass(frozen=True)
class ViPOccTraining:
    """Everything that decides what a training computes; the defaults are the published ones.

    Attributes:
        rate: Learning rate of Adam.
        schedule: The learning rate over the training.
        ema: Averaging of the weights, None = none.
        weights: Of the loss terms.
        patches: Patches with colours per sample.
        depth_patches: Patches of the input view for the depth consistency.
        patch: Edge length of the patches, pixels.
        sampler: Where patches lie: "random"; "snog" on objects; "snog_published" with the official
            code's slips (one sample's patches for all, anchors in swapped slots).
        flip: Probability that the encoder sees the mirrored image.
        jitters_colours: Change the colours of a sample's views at random, all alike. The published
            KITTI-360 loader ignores the switch in its configuration.
        sight: Cells that the LiDAR tells of, if `weights.sight` asks for them.
        picture_share: Share of the steps that have the published terms; in the others the LiDAR
            alone teaches, which is cheaper by far.
        times: When the fisheyes look.
        topics: Where in the bags things are.
        split: Which frames are trained on.
        start: Weights of the whole network to go on from; empty = random.
        backbone: Converted ImageNet weights of the density network's encoder; empty = random.
        depth_backbone: The same for the depth branch.
    """

    rate: float = 1e-4
    schedule: StepDrops | StepCosine = VIPOCC
    ema: EmaConfig | None = None
    weights: LossWeights = field(default_factory=LossWeights)
    patches: int = 64
    depth_patches: int = 32
    patch: int = 8
    sampler: Sampler = "random"
    flip: float = 0.5
    jitters_colours: bool = False
    sight: SightSpec = field(default_factory=SightSpec)
    picture_share: float = 1.0
    times: ViewTimes = field(default_factory=lambda: ViewTimes((1.0, 1.0)))
    topics: FieldTopics = field(default_factory=FieldTopics)
    split: FrameSplit = field(default_factory=FrameSplit)
    start: str = ""
    backbone: str = ""
    depth_backbone: str = ""


@dataclass(frozen=True)
class ViPOccPreset(Preset):
    """ViPOcc or BTS with the training that belongs to it."""

    network: ViPOccConfig
    training: ViPOccTraining


def published(output: Path) -> ViPOccPreset:
    """ViPOcc on KITTI-360: 25 epochs of 8 samples, two drops of the rate."""
    loop = LoopConfig(
        output, epochs=25, batch_size=8, workers=8, checkpoint_every=500, keep=15, log_every=50
    )
    return ViPOccPreset(ViPOccConfig(), ViPOccTraining(), loop)


def bts(output: Path) -> ViPOccPreset:
    """BTS on KITTI-360: the density network alone, smoothness, jittered colours, 16 samples."""
    preset = published(output)
    training = ViPOccTraining(weights=LossWeights.bts(), jitters_colours=True)
    loop = replace(preset.loop, batch_size=16)
    return ViPOccPreset(ViPOccConfig.bts(), training, loop)


def kitti_raw(output: Path) -> ViPOccPreset:
    """KITTI Raw as published: stereo alone, 50 epochs of 16 samples, ViPOcc's own terms off."""
    preset = bts(output)
    training = replace(
        preset.training,
        patches=32,  # 2048 rays
        topics=FieldTopics(stereo=("/camera_color/left", "/camera_color/right"), fisheyes=()),
    )
    return replace(preset, training=training, loop=replace(preset.loop, epochs=50))


def nano(output: Path, steps: int = 8000) -> ViPOccPreset:
    """The small network from nothing, on one core of a CPU: a quarter of a second per step.

    Pictures alone teach a field in days, not in minutes. So beside the published terms, which a
    few steps have, the LiDAR says where space is free and where it is not.
    """
    training = ViPOccTraining(
        rate=2e-3,
        schedule=StepCosine(steps, warmup=Warmup(50, 0.01)),
        ema=EmaConfig(decay=0.99, ramp=200.0, start=0),
        weights=LossWeights(supervised=0.01, sight=1.0),
        patches=4,
        depth_patches=2,
        jitters_colours=True,
        sight=SightSpec(turn_s=0.1),
        picture_share=0.15,
    )
    loop = LoopConfig(
        output, epochs=1_000_000, steps=steps, batch_size=2, clip_norm=1.0, workers=0,
        checkpoint_every=100, keep=2,
    )  # fmt: skip
    return ViPOccPreset(ViPOccConfig.nano(), training, loop)


PRESETS: Mapping[str, Callable[[Path], ViPOccPreset]] = {
    "published": published,
    "bts": bts,
    "kitti_raw": kitti_raw,
    "nano": nano,
}
