"""GaussianFlowOcc's training (paper, section 4; defaults of the last published code)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from occ_perception.core.errors import ConfigError
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.weights.load import load_weights
from occ_training.data.beam_sight import BeamSightSpec
from occ_training.engine.ema import EmaConfig
from occ_training.engine.recipe import LoopConfig, Recipe, plain
from occ_training.engine.schedule import GAUSSIANFLOWOCC, LateCosine, StepCosine, Warmup
from occ_training.losses.splatting import AUGUST_2025, SplatLossWeights
from occ_training.recipes.gaussianflowocc_data import (
    SplatDataset,
    SplatTargets,
    SplatTopics,
)
from occ_training.recipes.gaussianflowocc_start import FlatStart, start_flat
from occ_training.recipes.gaussianflowocc_step import (
    GaussianFlowOccLosses,
    TrainableGaussianFlowOcc,
    collate,
)
from occ_training.recipes.preset import Preset


@dataclass(frozen=True)
class GaussianFlowOccTraining:
    """Everything that decides what a training computes; the defaults are the published ones.

    Attributes:
        rate: Learning rate.
        weight_decay: Of AdamW, on all parameters.
        schedule: The learning rate over the training.
        ema: Averaging of the weights, None = none.
        losses: Weights of the losses.
        targets: What is rendered.
        flow: Gaussians of classes that can move are displaced at other times; without, the world
            stands still.
        augments: Resize, crop and turn images at random.
        start: Where Gaussians start; None = anywhere, as published.
        weights: Exported weights of an earlier run to go on from; empty = none.
        backbone: Converted ImageNet weights of the backbone (`occ weights convert resnet50 ...`);
            empty = random.
        keeps: Keep decoded images and labels in memory; for small worlds.
        topics: Where in the bags things are.
    """

    rate: float = 1e-4
    weight_decay: float = 0.01
    schedule: LateCosine | StepCosine = GAUSSIANFLOWOCC
    ema: EmaConfig | None = field(default_factory=EmaConfig)
    losses: SplatLossWeights = field(default_factory=SplatLossWeights)
    targets: SplatTargets = field(default_factory=SplatTargets)
    flow: bool = True
    augments: bool = True
    start: FlatStart | None = None
    weights: str = ""
    backbone: str = ""
    keeps: bool = False
    topics: SplatTopics = field(default_factory=SplatTopics)


@dataclass(frozen=True)
class GaussianFlowOccPreset(Preset):
    """A network with the training that belongs to it."""

    network: GaussianFlowOccConfig
    training: GaussianFlowOccTraining


def published(output: Path) -> GaussianFlowOccPreset:
    """The last published setting: 18 epochs of 4 x 4 samples, semantics weighed 2, depth 0.05."""
    loop = LoopConfig(output, epochs=18, batch_size=4, clip_norm=5.0, workers=8, keep=3)
    return GaussianFlowOccPreset(GaussianFlowOccConfig(), GaussianFlowOccTraining(), loop)


def august2025(output: Path) -> GaussianFlowOccPreset:
    """The setting of August 2025, which users reproduced best: weights 1 and 0.1."""
    training = GaussianFlowOccTraining(losses=AUGUST_2025)
    return GaussianFlowOccPreset(
        GaussianFlowOccConfig.august2025(), training, published(output).loop
    )


def nano(output: Path, steps: int = 3000) -> GaussianFlowOccPreset:
    """The small network from nothing, on a CPU: averaged.

    LiDAR beams teach it where things are; rendered pictures, few and small, count little: they let
    Gaussians grow until they close all gaps.
    """
    training = GaussianFlowOccTraining(
        rate=4e-4,  # at four times as much Gaussians fly off where nothing calls them back
        schedule=StepCosine(steps, floor=0.02, warmup=Warmup(30, 0.05)),
        ema=EmaConfig(decay=0.99, ramp=30.0, start=0),
        losses=SplatLossWeights(semantic=0.2, depth=0.01, sight=12.0, sight_semantic=1.0),
        targets=SplatTargets((32, 88), neighbours=2, cameras=1, sight=BeamSightSpec(moving=3.0)),
        start=FlatStart(scales_m=(0.5, 0.5, 0.15)),
        keeps=True,
    )
    loop = LoopConfig(
        output, epochs=1_000_000, steps=steps, batch_size=1, clip_norm=5.0, workers=0,
        checkpoint_every=50, keep=2,
    )  # fmt: skip
    return GaussianFlowOccPreset(GaussianFlowOccConfig.nano(), training, loop)


PRESETS: Mapping[str, Callable[[Path], GaussianFlowOccPreset]] = {
    "published": published,
    "august2025": august2025,
    "nano": nano,
}


def build_recipe(
    preset: GaussianFlowOccPreset,
    bags: Sequence[Any],
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> Recipe:
    """A recipe for the trainer.

    Args:
        preset: Network, training and loop.
        bags: Drives with their label layers.
        validate: Scores of a network, after every epoch.

    Raises:
        OccError: Bags, layers or initial weights cannot be used.
    """
    training, config = preset.training, preset.network
    dataset = SplatDataset(
        bags, config, training.targets, training.topics,
        augments=training.augments, keeps=training.keeps, seed=preset.loop.seed,
    )  # fmt: skip
    torch.manual_seed(preset.loop.seed)
    network = TrainableGaussianFlowOcc(config, flow=training.flow)
    if training.backbone:
        load_weights(network.backbone, Path(training.backbone), config.backbone)
    if training.weights:
        load_weights(network, Path(training.weights), "gaussianflowocc")
    elif training.start is not None:
        if not training.topics.points:
            raise ConfigError("a flat start needs LiDAR points: name their topic")
        start_flat(network, dataset.source, training.start, preset.loop.seed)
    return Recipe(
        network=network,
        optimizer=torch.optim.AdamW(
            network.parameters(), lr=training.rate, weight_decay=training.weight_decay
        ),
        schedule=training.schedule,
        dataset=dataset,
        collate=collate,
        losses=GaussianFlowOccLosses(training.losses, config),
        config=plain(training)
        | {
            "network": plain(config),
            "bags": sorted(scene.name for scene in dataset.source.scenes),
        },
        validate=validate,
        best="miou",
        ema=training.ema,
    )
