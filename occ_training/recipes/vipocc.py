"""ViPOcc's and BTS's training: random choices of a step, weighted losses, optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from occ_perception.core.errors import ConfigError
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.model import ViPOcc
from occ_perception.weights.load import load_weights
from occ_training.data.moving import moved
from occ_training.data.patches import Patches, random_patches
from occ_training.data.snog import published_slots, snog_patches
from occ_training.data.views import Partition, crossed_partition, random_partition
from occ_training.engine.recipe import Recipe, plain
from occ_training.recipes.field_sight import Lesson, field_terms
from occ_training.recipes.rendered_patches import PatchDraws
from occ_training.recipes.vipocc_data import FieldSamples, collate
from occ_training.recipes.vipocc_presets import ViPOccPreset, ViPOccTraining
from occ_training.recipes.vipocc_step import Draws, LossWeights, train_step

# Views of the two perspective cameras at two frames, and of the two fisheyes.
_WITH_FISHEYES = 8


class TrainableViPOcc(ViPOcc):
    """The networks with their losses; a call is a step of the training."""

    def forward(  # type: ignore[override]
        self, samples: FieldSamples, draws: Draws, weights: LossWeights, lesson: Lesson
    ) -> dict[str, Tensor]:
        """Unweighted terms of a batch."""
        step = partial(train_step, self, samples.views, draws, weights)
        encode = partial(self.density_net.encode, flip=draws.flip)
        return field_terms(lesson, self.density_net.field, samples, step, encode)


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
        lesson = Lesson.draw(self._training.picture_share, self._training.sight)
        terms = network(batch, self.draw(batch), weights, lesson)
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
            PatchDraws(partition, moved(patches, device), jitter(patches)),
            moved(depth, device),
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
    network = TrainableViPOcc(config)
    if training.start:
        load_weights(network, Path(training.start), "vipocc")
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
