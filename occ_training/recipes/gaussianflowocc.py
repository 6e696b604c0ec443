"""GaussianFlowOcc's training (paper, section 4; defaults of the last published code)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occ_perception.blocks.attention.deformable import ProjectionPlan
from occ_perception.rendering.splat_torch import SplatCameras
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc, GaussianScene
from occ_perception.voxels.gaussians import Gaussians
from occ_perception.weights.load import load_weights
from occ_training.engine.ema import EmaConfig
from occ_training.engine.recipe import LoopConfig, Recipe, plain
from occ_training.engine.schedule import GAUSSIANFLOWOCC, LateCosine, StepCosine, Warmup
from occ_training.losses.splatting import (
    AUGUST_2025,
    SplatLossWeights,
    rendered_class_loss,
    rendered_depth_loss,
)
from occ_training.recipes.gaussianflowocc_data import (
    DEPTH,
    SplatDataset,
    SplatSample,
    SplatTargets,
    SplatTopics,
)
from occ_training.recipes.gaussianflowocc_start import FlatStart, start_flat
from occ_training.recipes.preset import Preset
from occ_training.splat.choice import render_steps


@dataclass(frozen=True)
class GaussianFlowOccTraining:
    """Everything that decides what a training computes; the defaults are the published ones.

    Attributes:
        rate: Learning rate.
        weight_decay: Of AdamW, on all parameters.
        schedule: The learning rate over the training.
        ema: Averaging of the weights, None = none.
        losses: Weights of the two losses.
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


def nano(output: Path, steps: int = 600) -> GaussianFlowOccPreset:
    """The small network from nothing, on a CPU: short, hot, averaged, with small pictures."""
    training = GaussianFlowOccTraining(
        rate=1.5e-3,
        schedule=StepCosine(steps, floor=0.03, warmup=Warmup(30, 0.05)),
        ema=EmaConfig(decay=0.98, ramp=30.0, start=0),
        losses=AUGUST_2025,
        targets=SplatTargets(size=(32, 88), neighbours=1),
        start=FlatStart(),
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


class SplatBatch(NamedTuple):
    """Samples side by side; the fields are those of `SplatSample`, `steps` may differ in number."""

    images: Tensor
    poses: Tensor
    K: Tensor
    fits: Tensor
    motions: Tensor
    steps: tuple[Tensor, ...]
    T_cam_ego: tuple[Tensor, ...]
    intrinsics: tuple[Tensor, ...]
    classes: tuple[Tensor, ...]
    depth_m: tuple[Tensor, ...]

    def to(self, device: torch.device) -> SplatBatch:
        """The same on another device; calibration stays, it is composed in float64 on the CPU."""
        here = {"poses", "K", "fits"}

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=True)
            return tuple(move(part) for part in value)

        return SplatBatch(*(v if n in here else move(v) for n, v in self._asdict().items()))


def collate(samples: Sequence[SplatSample]) -> SplatBatch:
    """A batch; at the border of a scene a sample may have fewer rendered key frames."""
    columns = {name: [getattr(s, name) for s in samples] for name in SplatBatch._fields}
    alike = ("images", "poses", "K", "fits", "motions")
    return SplatBatch(**{n: torch.stack(c) if n in alike else tuple(c) for n, c in columns.items()})


class TrainedScene(NamedTuple):
    """What the losses look at.

    Attributes:
        scene: The current key frame.
        means: For every sample, where its Gaussians are at the rendered key frames, metres.
    """

    scene: GaussianScene
    means: tuple[Float[Tensor, "s g 3"], ...]


class TrainableGaussianFlowOcc(GaussianFlowOcc):
    """The network with the chain of key frames that leads to a training sample.

    Args:
        config: Sizes.
        flow: Whether Gaussians move between key frames.
    """

    def __init__(self, config: GaussianFlowOccConfig, *, flow: bool = True) -> None:
        super().__init__(config)
        self._moves = flow

    def forward(self, batch: SplatBatch) -> TrainedScene:  # type: ignore[override]
        """The current key frame of every sample, and where its Gaussians are at other times."""
        *past, now = range(batch.images.shape[1])
        memory = self._remembered(batch, past)
        scene = super().forward(batch.images[:, now], self._plan(batch, now), memory)
        steps = [steps[:-1] for steps in batch.steps]
        return TrainedScene(scene, tuple(self._moved(scene, i, s) for i, s in enumerate(steps)))

    @torch.no_grad()
    def _remembered(self, batch: SplatBatch, past: Sequence[int]):  # type: ignore[no-untyped-def]
        """The memory of the past key frames, in the frame of the current one (section 3.7)."""
        memory = None
        for step in past:
            scene = super().forward(batch.images[:, step], self._plan(batch, step), memory)
            memory = scene.memory.carried(batch.motions[:, step])
        return memory

    def _plan(self, batch: SplatBatch, step: int) -> ProjectionPlan:
        return self.plan(batch.poses[:, step], batch.K, batch.fits).to(batch.images.device)

    def _moved(self, scene: GaussianScene, sample: int, steps: Tensor) -> Float[Tensor, "s g 3"]:
        if not self._moves:
            return scene.gaussians.means[sample].expand(len(steps) + 1, -1, -1)
        gaussians = Gaussians(*(part[None] for part in scene.gaussians[sample]))
        alone = GaussianScene(gaussians, scene.features[sample][None])
        return self.means_over_time(alone, steps)[0]


class GaussianFlowOccLosses:
    """Rendered classes and depth against pseudo labels, over all samples, times and cameras.

    Args:
        weights: Of the two losses.
    """

    def __init__(self, weights: SplatLossWeights) -> None:
        self._weights = weights

    def __call__(self, network: nn.Module, batch: SplatBatch) -> dict[str, Tensor]:
        """Losses of a batch by name, weighed."""
        trained: TrainedScene = network(batch)
        pictures = [
            self._pictures(trained, batch, sample).flatten(0, -2)
            for sample in range(len(batch.steps))
        ]
        logits, depth_m = torch.cat(pictures).split([pictures[0].shape[-1] - 1, 1], dim=-1)
        classes = torch.cat([c.flatten() for c in batch.classes])
        target_m = torch.cat([d.flatten() for d in batch.depth_m])
        terms = {
            "semantic": self._weights.semantic * rendered_class_loss(logits, classes),
            "depth": self._weights.depth * rendered_depth_loss(depth_m[:, 0], target_m),
        }
        return {name: term for name, term in terms.items() if getattr(self._weights, name)}

    @staticmethod
    def _pictures(
        trained: TrainedScene, batch: SplatBatch, sample: int
    ) -> Float[Tensor, "s c h w k"]:
        height, width = batch.classes[sample].shape[-2:]
        T, K = (t[sample].flatten(0, 1) for t in (batch.T_cam_ego, batch.intrinsics))
        cameras = SplatCameras(T, K, width=width, height=height)
        return render_steps(trained.scene.gaussians[sample], trained.means[sample], cameras)


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
        start_flat(network, dataset.source, DEPTH, training.start, preset.loop.seed)
    return Recipe(
        network=network,
        optimizer=torch.optim.AdamW(
            network.parameters(), lr=training.rate, weight_decay=training.weight_decay
        ),
        schedule=training.schedule,
        dataset=dataset,
        collate=collate,
        losses=GaussianFlowOccLosses(training.losses),
        config=plain(training)
        | {
            "network": plain(config),
            "bags": sorted(scene.name for scene in dataset.source.scenes),
        },
        validate=validate,
        best="miou",
        ema=training.ema,
    )
