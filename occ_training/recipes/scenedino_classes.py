"""SceneDINO's second training stage: classes without labels (specification 4.2).

The field stands still. Codes are distilled from its features around surfaces, then clusters are
looked for among them; labels only name the clusters, and train the linear probes beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from occ_perception.blocks.fields.pixel_field import EncodedView
from occ_perception.geometry.rays import Rays, centre_grid, rays_through
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.model import SceneDino
from occ_training.engine.recipe import LoopConfig, Recipe, plain
from occ_training.engine.schedule import EpochDrops
from occ_training.losses.stego import CropBuffer
from occ_training.recipes.preset import Preset
from occ_training.recipes.scenedino_data import InputBatch, collate_inputs
from occ_training.recipes.scenedino_semantics import (
    correlate_crops,
    crop_centres,
    distillation_terms,
    draw_partners,
    probing_terms,
    sample_crops,
)

_RAYS_AT_A_TIME = 8192


@dataclass(frozen=True)
class ClassesTraining:
    """Everything that decides what stage 2 computes; the defaults are the published ones.

    Attributes:
        rate: Learning rate of the codes.
        probe_rate: Learning rate of clusters and linear probes.
        schedule: The learning rates over the training; constant.
        fisheyes: Share of samples that are a fisheye's view, which has no labels.
        crop_samples: Surface points per crop.
        crops: Crops that are kept as partners.
        every: Every n-th row and column of the image is rendered.
        kmeans: Put the centres where k-means finds clusters, as the paper describes it, instead of
            where the gradient has led them, as the official code does.
        naming_frames: Labelled frames by which clusters are named.
        field: Weights of the first stage.
    """

    rate: float = 5e-4
    probe_rate: float = 5e-3
    schedule: EpochDrops = field(default_factory=EpochDrops)
    fisheyes: float = 0.5
    crop_samples: int = 576
    crops: int = 256
    every: int = 1
    kmeans: bool = False
    naming_frames: int = 32
    field: str = ""


@dataclass(frozen=True)
class ClassesPreset(Preset):
    """A network with the second stage that belongs to it."""

    network: SceneDinoConfig
    training: ClassesTraining
    loop: LoopConfig


def published(output: Path) -> ClassesPreset:
    """As published: 1000 steps of 4 images, half precision, clusters named every 100 steps."""
    loop = LoopConfig(
        output, epochs=1000, steps=1000, batch_size=4, precision="fp16", workers=8,
        checkpoint_every=100,
    )  # fmt: skip
    return ClassesPreset(SceneDinoConfig(), ClassesTraining(), loop)


def dinov2(output: Path) -> ClassesPreset:
    """The same on DINOv2."""
    return replace(published(output), network=SceneDinoConfig.dinov2())


def nano(output: Path, steps: int = 400) -> ClassesPreset:
    """The small network on one core of a CPU: less than half a second of it per step."""
    training = ClassesTraining(rate=1e-3, crop_samples=144, every=2, kmeans=True)
    loop = LoopConfig(
        output, epochs=1_000_000, steps=steps, batch_size=1, precision="bf16", workers=0,
        checkpoint_every=100, keep=2,
    )  # fmt: skip
    return ClassesPreset(SceneDinoConfig.nano(), training, loop)


PRESETS: Mapping[str, Callable[[Path], ClassesPreset]] = {
    "published": published,
    "dinov2": dinov2,
    "nano": nano,
}


class RenderedInput(NamedTuple):
    """The rendered input view of one sample.

    Attributes:
        rays: Its rays, in the camera's frame.
        distance_m: Along them.
        features: Unit features.
    """

    rays: Rays
    distance_m: Float[Tensor, " r"]
    features: Float[Tensor, "h w c"]


class SemanticSceneDino(SceneDino):
    """The whole network, of which only the semantic head learns; a call is a step of the training.

    Args:
        config: Sizes.
        training: Crops and resolution.
    """

    def __init__(self, config: SceneDinoConfig, training: ClassesTraining) -> None:
        super().__init__(config)
        self.requires_grad_(False)
        self.semantics.requires_grad_(True)
        self._training = training
        self.buffer = CropBuffer(training.crops, training.crop_samples, config.feature_channels)

    def train(self, mode: bool = True) -> SemanticSceneDino:
        """Switch the semantic head to training, and nothing else."""
        super().train(False)
        self.training = mode
        self.semantics.train(mode)
        return self

    def forward(self, batch: InputBatch, generator: torch.Generator) -> dict[str, Tensor]:  # type: ignore[override]
        """All losses of a batch."""
        seen, crops = self.look(batch, generator)
        features = torch.stack([one.features for one in seen])
        labels = self.shown(batch.labels)
        is_labelled = bool((labels >= 0).any())
        terms = probing_terms(self.semantics, features, labels if is_labelled else None)
        if len(crops):
            draws = draw_partners(len(crops), self.buffer, generator)
            terms |= distillation_terms(correlate_crops(self.semantics, self.buffer, crops, draws))
        return terms

    @torch.no_grad()
    def look(
        self, batch: InputBatch, generator: torch.Generator
    ) -> tuple[list[RenderedInput], Float[Tensor, "k s c"]]:
        """Rendered input views, and features around points on their surfaces."""
        hidden = self.encode(batch.image)
        identity = torch.eye(4, device=hidden.device)[None]
        seen, crops = [], []
        for number in range(len(hidden)):
            one = slice(number, number + 1)
            view = EncodedView(hidden[one], identity, batch.K[one])
            seen.append(self.rendered(view))
            centres = crop_centres(seen[-1].distance_m, seen[-1].rays, generator)
            ask = partial(self.field.at, view)
            crops.append(sample_crops(centres, ask, self._training.crop_samples, generator))
        return seen, self.expansion(torch.cat(crops))

    def rendered(self, view: EncodedView) -> RenderedInput:
        """The input view as the field sees it, at random places along the rays."""
        height, width = self.config.input_size
        uv = self.shown(centre_grid(height, width, device=view.hidden.device)[None])[0]
        rays = rays_through(uv.flatten(0, 1), view.K[0], view.T_cam_world[0])
        parts = []
        for origins, directions in zip(
            *(part.split(_RAYS_AT_A_TIME) for part in rays), strict=True
        ):
            jitter = torch.rand(1, len(origins), self.config.samples).to(origins.device)
            parts.append(self.render(view, Rays(origins[None], directions[None]), jitter))
        latent = torch.cat([part.latent[0] for part in parts])
        distance = torch.cat([part.distance_m[0] for part in parts])
        return RenderedInput(rays, distance, self.expansion(latent).view(*uv.shape[:2], -1))

    def shown(self, maps: Tensor) -> Tensor:
        """Maps `[B, H, W, ...]` at the rows and columns that are rendered."""
        every = self._training.every
        return maps[:, every // 2 :: every, every // 2 :: every]


class SemanticLosses:
    """All terms of the published total, each with weight 1."""

    def __call__(self, network: nn.Module, batch: InputBatch) -> dict[str, Tensor]:
        """Losses of a batch by name; random choices come out of torch's generator."""
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        return network(batch, generator)


def build_recipe(
    preset: ClassesPreset,
    dataset: Dataset[InputBatch],
    start: Callable[[SemanticSceneDino], None],
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    bags: tuple[str, ...] = (),
) -> Recipe:
    """A recipe for the trainer.

    Args:
        preset: Network, training and loop.
        dataset: Single views.
        start: Fills the field.
        validate: Names the clusters; scores of a network, after every epoch.
        bags: Names of the drives, for the record.
    """
    training, config = preset.training, preset.network
    torch.manual_seed(preset.loop.seed)
    network = SemanticSceneDino(config, training)
    start(network)
    head = network.semantics
    codes = list(head.code.parameters())
    known = {id(p) for p in codes}
    probes = [p for p in head.parameters() if id(p) not in known]
    return Recipe(
        network=network,
        optimizer=torch.optim.Adam(
            [{"params": codes, "lr": training.rate}, {"params": probes, "lr": training.probe_rate}]
        ),
        schedule=training.schedule,
        dataset=dataset,
        collate=collate_inputs,
        losses=SemanticLosses(),
        config=plain(training) | {"network": plain(config), "bags": sorted(bags), "stage": 2},
        validate=validate,
        best="weighted_miou",
    )
