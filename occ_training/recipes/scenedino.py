"""SceneDINO's first training stage: the feature field (specification 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.model import SceneDino
from occ_perception.systems.scenedino.targets import FeatureTargets
from occ_training.data.field_views import ViewTimes
from occ_training.data.moving import moved
from occ_training.data.patches import random_cells
from occ_training.data.sight import SightSpec
from occ_training.data.views import MultiView, paired_partition
from occ_training.engine.recipe import LoopConfig, Recipe, plain
from occ_training.engine.schedule import Schedule, StepCosine, StepDrops, Warmup
from occ_training.labels.patch_features import FrozenTwin, PatchTeacher
from occ_training.recipes.field_sight import Lesson, field_terms
from occ_training.recipes.preset import Preset
from occ_training.recipes.scenedino_data import FieldBatch, collate_views
from occ_training.recipes.scenedino_step import (
    Draws,
    LossWeights,
    Taught,
    train_step,
)


@dataclass(frozen=True)
class SceneDinoTraining:
    """Everything that decides what stage 1 computes; the defaults are the published ones.

    Attributes:
        rate: Learning rate of everything but the ViT.
        encoder_rate: Learning rate of the ViT, which is only tuned.
        schedule: The learning rates over the training.
        patches: Patches of the ViT's grid that are rendered per sample; 2048 rays in all.
        flip: Probability that the encoder sees the mirrored image.
        moves_grid: Move the ViT's grid against the image at random, so that the field learns what
            lies between its patches.
        weights: Of the loss terms.
        times: When the views of a sample are taken.
        jitters_colours: Change the colours of a sample's views at random, all alike.
        lidar: Topic of the points for `weights.sight`.
        sight: Cells that the LiDAR tells of, if `weights.sight` asks for them.
        picture_share: Share of the steps that have the published terms; in the others the LiDAR
            alone teaches, which is cheaper by far.
        start: Weights of the same network, or folder of a run of it whose newest checkpoint is
            the start; empty = the teacher's weights, or random ones.
    """

    rate: float = 1e-4
    encoder_rate: float = 1e-5
    schedule: StepDrops | StepCosine = field(default_factory=lambda: StepDrops(50_000))
    patches: int = 32
    flip: float = 0.5
    moves_grid: bool = True
    weights: LossWeights = field(default_factory=LossWeights)
    times: ViewTimes = field(default_factory=ViewTimes)
    jitters_colours: bool = False
    lidar: str = "/velodyne/points"
    sight: SightSpec = field(default_factory=SightSpec)
    picture_share: float = 1.0
    start: str = ""


@dataclass(frozen=True)
class SceneDinoPreset(Preset):
    """A network with the first stage that belongs to it."""

    network: SceneDinoConfig
    training: SceneDinoTraining
    loop: LoopConfig


def published(output: Path) -> SceneDinoPreset:
    """KITTI-360 with DINO as published: 100 000 steps of 4 samples, half precision."""
    loop = LoopConfig(
        output, epochs=1000, steps=100_000, batch_size=4, precision="fp16", workers=8,
        checkpoint_every=10_000, keep=20,
    )  # fmt: skip
    return SceneDinoPreset(replace(SceneDinoConfig(), classes=0), SceneDinoTraining(), loop)


def dinov2(output: Path) -> SceneDinoPreset:
    """The same with DINOv2, whose patches are twice as large: a quarter of them per sample."""
    preset = published(output)
    network = replace(SceneDinoConfig.dinov2(), classes=0)
    return replace(preset, network=network, training=SceneDinoTraining(patches=8))


def nano(output: Path, steps: int = 5000) -> SceneDinoPreset:
    """The small network from nothing, on one core of a CPU: less than half a second per step.

    Pictures alone teach a field in days, not in minutes. So beside the published terms, which a
    few steps have, the LiDAR says where space is free and where it is not.
    """
    training = SceneDinoTraining(
        rate=2e-3,
        encoder_rate=5e-4,
        schedule=StepCosine(steps, warmup=Warmup(100, 0.01)),
        weights=LossWeights(feature=1.0, sight=1.0),
        patches=4,
        jitters_colours=True,
        sight=SightSpec(turn_s=0.1),
        picture_share=0.25,
    )
    loop = LoopConfig(
        output, epochs=1_000_000, steps=steps, batch_size=2, clip_norm=1.0, precision="bf16",
        workers=0, checkpoint_every=100, keep=2,
    )  # fmt: skip
    return SceneDinoPreset(replace(SceneDinoConfig.nano(), classes=0), training, loop)


PRESETS: Mapping[str, Callable[[Path], SceneDinoPreset]] = {
    "published": published,
    "dinov2": dinov2,
    "nano": nano,
}


class TrainableSceneDino(SceneDino):
    """The field with everything that it is compared with; a call is a step of the training.

    Args:
        config: Sizes.
    """

    def __init__(self, config: SceneDinoConfig) -> None:
        super().__init__(config)
        self.targets = FeatureTargets(config)

    def forward(  # type: ignore[override]
        self,
        batch: FieldBatch,
        draws: Draws,
        weights: LossWeights,
        taught: Taught | None,
        lesson: Lesson,
    ) -> dict[str, Tensor]:
        """Unweighted terms of a batch."""
        step = partial(train_step, self, self.targets, batch.views, draws, weights, taught)
        return field_terms(lesson, self.field, batch, step, partial(self.encode, flip=draws.flip))

    def parameter_groups(self, training: SceneDinoTraining) -> list[dict[str, object]]:
        """Parameters with their learning rates; the frozen twin has none."""
        slow = list(self.encoder.parameters())
        known = {id(p) for p in [*slow, *self.targets.encoder.parameters()]}
        rest = [p for p in self.parameters() if id(p) not in known]
        return [
            {"params": rest, "lr": training.rate},
            {"params": slow, "lr": training.encoder_rate},
        ]


class FieldLosses:
    """All terms of the published total with their weights.

    Args:
        network: Sizes.
        training: Draws and weights.
        teacher: Another teacher than the frozen twin.
    """

    def __init__(
        self,
        network: SceneDinoConfig,
        training: SceneDinoTraining,
        teacher: PatchTeacher | None = None,
    ) -> None:
        self._network, self._training, self._teacher = network, training, teacher

    def __call__(self, network: nn.Module, batch: FieldBatch) -> dict[str, Tensor]:
        """Weighted losses of a batch by name."""
        taught = None if self._teacher is None else Taught(self._teacher, batch.surfaces)
        training = self._training
        lesson = Lesson.draw(training.picture_share, training.sight)
        terms = network(batch, self.draw(batch.views), training.weights, taught, lesson)
        return {name: getattr(training.weights, name) * value for name, value in terms.items()}

    def draw(self, views: MultiView) -> Draws:
        """Random choices of a step, out of torch's generator, which checkpoints keep."""
        config, training = self._network, self._training
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        batch, count = views.images.shape[:2]
        half = config.patch // 2
        shift = rng.integers(-half, half, 2).tolist() if training.moves_grid else (0, 0)
        partition = paired_partition(count, rng)
        device = views.images.device
        cells = random_cells(batch, training.patches, len(partition.loss), config.patch_grid)
        rays = training.patches * config.patch**2
        return Draws(
            partition,
            moved(cells, device),
            (shift[0], shift[1]),
            torch.rand(batch, rays, config.samples).to(device),
            flip=bool(rng.random() < training.flip),
        )


def build_recipe(
    preset: SceneDinoPreset,
    dataset: Dataset[FieldBatch],
    teacher: PatchTeacher | None = None,
    start: Callable[[TrainableSceneDino], None] | None = None,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    bags: tuple[str, ...] = (),
) -> Recipe:
    """A recipe for the trainer.

    Args:
        preset: Network, training and loop.
        dataset: Samples of several posed views.
        teacher: Gives the features; None = the frozen twin of the encoder.
        start: Fills the network with what it starts from.
        validate: Scores of a network, after every epoch.
        bags: Names of the drives, for the record.
    """
    training, config = preset.training, preset.network
    torch.manual_seed(preset.loop.seed)
    network = TrainableSceneDino(config)
    if start is not None:
        start(network)
    schedule: Schedule = training.schedule
    name = (teacher or FrozenTwin(network.targets)).name
    return Recipe(
        network=network,
        optimizer=torch.optim.Adam(network.parameter_groups(training)),
        schedule=schedule,
        dataset=dataset,
        collate=collate_views,
        losses=FieldLosses(config, training, teacher),
        config=plain(training)
        | {"network": plain(config), "bags": sorted(bags), "teacher": name, "stage": 1},
        validate=validate,
        best="iou",
    )
