"""VLScene's training (paper, section 4; defaults of the published SemanticKITTI configuration)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from occ_perception.core.errors import ConfigError
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.model import VLScene
from occ_perception.systems.vlscene.preprocess import FitKind
from occ_perception.weights.load import load_weights
from occ_training.engine.ema import EmaConfig
from occ_training.engine.recipe import LoopConfig, Recipe, plain
from occ_training.engine.schedule import VLSCENE, EpochDrops, Schedule, StepCosine, Warmup
from occ_training.labels.teacher import Teacher
from occ_training.recipes.preset import Preset
from occ_training.recipes.vlscene_data import VLSceneDataset, VLSceneTopics
from occ_training.recipes.vlscene_step import LossOptions, VLSceneLosses, collate


@dataclass(frozen=True)
class VLSceneTraining:
    """Everything that decides what a training computes; the defaults are the published ones.

    Attributes:
        rate: Learning rate.
        weight_decay: Of AdamW.
        schedule: The learning rate over the training.
        ema: Averaging of the weights, None = none.
        frozen_backbone_norms: Keep the running statistics of the image backbone's batch norms, as
            is right for pretrained weights; without those they have to be learnt.
        losses: Which terms count how much, and which part of the network learns.
        mirror: Share of the samples whose street is mirrored, images, voxels and all; 0 as
            published.
        start: Converted weights of the whole network to start from; empty = random.
        backbone: Converted ImageNet weights of the backbone (`occ weights convert repvit ...`);
            empty = random.
        fit: How images are brought to the network's size.
        topics: Where in the bags things are.
    """

    rate: float = 1e-4
    weight_decay: float = 0.01
    schedule: EpochDrops | StepCosine = VLSCENE
    ema: EmaConfig | None = None
    frozen_backbone_norms: bool = True
    losses: LossOptions = field(default_factory=LossOptions)
    mirror: float = 0.0
    start: str = ""
    backbone: str = ""
    fit: FitKind = "auto"
    topics: VLSceneTopics = field(default_factory=VLSceneTopics)


@dataclass(frozen=True)
class VLScenePreset(Preset):
    """VLScene with its training."""

    network: VLSceneConfig
    training: VLSceneTraining


def published(output: Path) -> VLScenePreset:
    """SemanticKITTI as published: AdamW, 30 epochs, two drops, norm 5, float32, no augmentation."""
    loop = LoopConfig(output, epochs=30, batch_size=2, clip_norm=5.0, workers=8, keep=20)
    return VLScenePreset(VLSceneConfig(), VLSceneTraining(), loop)


def nano(output: Path, steps: int = 1000) -> VLScenePreset:
    """The small network from nothing, on a CPU: short, hot, averaged, in bfloat16.

    A step takes about a second of one core that knows bfloat16 (AVX-512), more elsewhere.
    """
    training = VLSceneTraining(
        rate=2e-3,
        schedule=StepCosine(steps, warmup=Warmup(50, 0.01)),
        ema=EmaConfig(decay=0.99, ramp=50.0, start=0),
        frozen_backbone_norms=False,
        losses=LossOptions(
            semantic_weight=0.2, overlap_weight=1.0, branch_weight=0.5, voxels=49152
        ),
        mirror=0.5,
    )
    loop = LoopConfig(
        output, epochs=1_000_000, steps=steps, batch_size=1, clip_norm=5.0, precision="bf16",
        workers=1, checkpoint_every=50, keep=2,
    )  # fmt: skip
    return VLScenePreset(VLSceneConfig.nano(), training, loop)


PRESETS: Mapping[str, Callable[[Path], VLScenePreset]] = {"published": published, "nano": nano}


class TrainableVLScene(VLScene):
    """VLScene whose backbone's batch norms learn their statistics: for a start from nothing."""

    def train(self, mode: bool = True) -> TrainableVLScene:
        """Switch everything to training, the backbone's batch norms too."""
        super().train(mode)
        self.backbone.train(mode)
        return self


class VLSceneOfGivenImages(VLScene):
    """VLScene whose image side stays as it is: only the voxels learn, in half the time."""

    def __init__(self, config: VLSceneConfig) -> None:
        super().__init__(config)
        self._images = (self.backbone, self.neck, self.view_transformer)
        for part in self._images:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> VLSceneOfGivenImages:
        """Switch what learns to training."""
        super().train(mode)
        for part in self._images:
            part.eval()
        return self


def build_recipe(
    preset: VLScenePreset,
    bags: Sequence[Any],
    teacher: Teacher | None = None,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> Recipe:
    """A recipe for the trainer.

    Args:
        preset: Network, training and loop.
        bags: Drives with their label layers.
        teacher: Runs beside the training; None = label layers, or no teacher.
        validate: Scores of a network, after every epoch.

    Raises:
        OccError: Bags, topics or initial weights cannot be used.
    """
    training, config = preset.training, preset.network
    if not training.topics.voxels:
        raise ConfigError("a training needs a topic with voxel truth: give topics.voxels")
    dataset = VLSceneDataset(
        bags, config, training.topics, training.fit, preset.loop.seed, training.mirror
    )
    torch.manual_seed(preset.loop.seed)
    network = _network(training, config)
    if training.start:
        load_weights(network, Path(training.start), "vlscene")
    if training.backbone:
        load_weights(network.backbone, Path(training.backbone), "repvit_m2_3")
    schedule: Schedule = training.schedule
    return Recipe(
        network=network,
        optimizer=torch.optim.AdamW(
            [p for p in network.parameters() if p.requires_grad],
            lr=training.rate,
            weight_decay=training.weight_decay,
        ),
        schedule=schedule,
        dataset=dataset,
        collate=collate,
        losses=VLSceneLosses(network.plan, teacher, training.losses),
        config=plain(training)
        | {
            "network": plain(config),
            "bags": sorted(scene.name for scene in dataset.source.scenes),
            "teacher": teacher.name if teacher else "",
        },
        validate=validate,
        best="miou",
        ema=training.ema,
    )


def _network(training: VLSceneTraining, config: VLSceneConfig) -> VLScene:
    if training.losses.stage == "voxels":
        return VLSceneOfGivenImages(config)
    return VLScene(config) if training.frozen_backbone_norms else TrainableVLScene(config)
