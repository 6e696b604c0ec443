"""ViPOcc's and BTS's training (specification 4; defaults of the published KITTI-360 recipe)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from occ_perception.core.errors import ConfigError
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.model import ViPOcc
from occ_perception.weights.load import load_weights
from occ_training.data.field_views import FISHEYES, STEREO, ViewTimes
from occ_training.data.patches import Patches, random_patches
from occ_training.data.sight import SightSpec
from occ_training.data.snog import published_slots, snog_patches
from occ_training.data.views import Partition, crossed_partition, random_partition
from occ_training.engine.ema import EmaConfig
from occ_training.engine.recipe import LoopConfig, Recipe, plain
from occ_training.engine.schedule import VIPOCC, StepCosine, StepDrops, Warmup
from occ_training.losses.sight import sight_loss
from occ_training.recipes.preset import Preset
from occ_training.recipes.rendered_patches import PatchDraws
from occ_training.recipes.vipocc_data import FieldSamples, collate
from occ_training.recipes.vipocc_step import Draws, LossWeights, StepResult, train_step

Sampler = Literal["random", "snog", "snog_published"]
# Views of the two perspective cameras at two frames, and of the two fisheyes.
_WITH_FISHEYES = 8


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
        times: When the fisheyes look.
        topics: Where in the bags things are.
        split: Which frames are trained on.
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
    times: ViewTimes = field(default_factory=lambda: ViewTimes((1.0, 1.0)))
    topics: FieldTopics = field(default_factory=FieldTopics)
    split: FrameSplit = field(default_factory=FrameSplit)
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


def nano(output: Path, steps: int = 1400) -> ViPOccPreset:
    """The small network from nothing, on one core of a CPU: a third of a second per step.

    Pictures alone teach a field in days, not in minutes. So beside the published terms the LiDAR
    says where space is free and where it is not, and corrects the depth branch.
    """
    training = ViPOccTraining(
        rate=2e-3,
        schedule=StepCosine(steps, warmup=Warmup(50, 0.01)),
        ema=EmaConfig(decay=0.99, ramp=200.0, start=0),
        weights=LossWeights(supervised=0.01, sight=1.0),
        patches=8,
        depth_patches=4,
        jitters_colours=True,
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


class TrainableViPOcc(ViPOcc):
    """The networks with their losses; a call is a step of the training.

    Args:
        config: Sizes.
        cell_m: Edge length of the cells of `FieldSamples.sight`.
    """

    def __init__(self, config: ViPOccConfig, cell_m: float = SightSpec.cell_m) -> None:
        super().__init__(config)
        self._cell_m = cell_m

    def forward(  # type: ignore[override]
        self, samples: FieldSamples, draws: Draws, weights: LossWeights
    ) -> StepResult:
        """All losses of a batch; of those of `train_step`, the total."""
        result = train_step(self, samples.views, draws, weights)
        if samples.sight is None:
            return result
        points, occupied, known = samples.sight
        density = self.density_net.field.at(result.encoded, points).density
        sight = sight_loss(density, occupied, known, self._cell_m)
        return result._replace(terms={**result.terms, "sight": sight})


class FieldLosses:
    """All terms of the published total with their weights.

    Args:
        network: Sizes.
        training: Draws and weights.
    """

    def __init__(self, network: ViPOccConfig, training: ViPOccTraining) -> None:
        self._network, self._training = network, training

    def __call__(self, network: nn.Module, batch: FieldSamples) -> dict[str, Tensor]:
        """Weighted losses of a batch by name."""
        weights = self._training.weights
        terms = network(batch, self.draw(batch), weights).terms
        return {
            name: getattr(weights, name) * value
            for name, value in terms.items()
            if hasattr(weights, name)
        }

    def draw(self, batch: FieldSamples) -> Draws:
        """Random choices of a step, out of torch's generator, which checkpoints keep."""
        config, training = self._network, self._training
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        count, views = batch.views.images.shape[:2]
        device = batch.views.images.device
        partition = _partition(views, rng)
        patches = self._patches(batch, partition)
        depth_count = training.depth_patches if config.depth_branch else 1
        depth = random_patches(count, depth_count, 1, batch.views.size, training.patch)

        def jitter(of: Patches) -> Tensor:
            rays = of.view.shape[1] * of.size**2
            return torch.rand(count, rays, config.samples).to(device)

        return Draws(
            PatchDraws(partition, _on(patches, device), jitter(patches)),
            _on(depth, device),
            jitter(depth),
            flip=bool(rng.random() < training.flip),
        )

    def _patches(self, batch: FieldSamples, partition: Partition) -> Patches:
        training, size = self._training, batch.views.size
        if training.sampler == "random":
            count = len(batch.views.images)
            return random_patches(
                count, training.patches, len(partition.loss), size, training.patch
            )
        if batch.anchors is None or batch.views.images.shape[1] != _WITH_FISHEYES:
            raise ConfigError(
                "SNOG draws half of its patches on fisheyes and half on objects of class images: "
                "give bags with both or sample at random"
            )
        anchors = batch.anchors[:, partition.loss[:2]]
        is_published = training.sampler == "snog_published"
        if is_published:
            anchors = published_slots(anchors, partition.loss)
        return snog_patches(anchors, size, training.patch, as_published=is_published)


def _partition(views: int, rng: np.random.Generator) -> Partition:
    if views == _WITH_FISHEYES:
        return crossed_partition(rng)
    return random_partition(views, rng)


def _on(patches: Patches, device: torch.device) -> Patches:
    moved = (part.to(device) for part in (patches.view, patches.y, patches.x))
    return Patches(*moved, patches.size)


def build_recipe(
    preset: ViPOccPreset,
    dataset: Dataset[FieldSamples],
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    record: Mapping[str, object] | None = None,
) -> Recipe:
    """A recipe for the trainer.

    Args:
        preset: Network, training and loop.
        dataset: Samples of several posed views.
        validate: Scores of a network, after every epoch.
        record: What else is stored with every checkpoint: bags, teacher, leaks.

    Raises:
        OccError: Initial weights cannot be used.
    """
    training, config = preset.training, preset.network
    torch.manual_seed(preset.loop.seed)
    network = TrainableViPOcc(config, training.sight.cell_m)
    if training.backbone:
        load_weights(network.density_net.features.encoder, Path(training.backbone), config.backbone)
    if training.depth_backbone and network.depth_net is not None:
        encoder = network.depth_net.residual.encoder
        load_weights(encoder, Path(training.depth_backbone), config.depth_backbone)
    return Recipe(
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=training.rate),
        schedule=training.schedule,
        dataset=dataset,
        collate=collate,
        losses=FieldLosses(config, training),
        config=plain(training) | {"network": plain(config)} | dict(record or {}),
        validate=validate,
        best="iou",
        ema=training.ema,
    )
