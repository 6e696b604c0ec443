"""GaussianFlowOcc's training step: a chain of key frames, and what its Gaussians are held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occ_perception.blocks.attention.deformable import ProjectionPlan
from occ_perception.rendering.splat_torch import SplatCameras
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc, GaussianScene
from occ_perception.voxels.gaussians import Gaussians, gaussians_at_voxels
from occ_training.data.beam_sight import SightVoxels
from occ_training.data.moving import moved
from occ_training.losses.splatting import (
    SplatLossWeights,
    VoxelAnswers,
    rendered_class_loss,
    rendered_depth_loss,
    sight_terms,
)
from occ_training.recipes.gaussianflowocc_data import SplatSample
from occ_training.splat.choice import render_steps


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
    sight_voxels: tuple[Tensor, ...]
    sight_classes: tuple[Tensor, ...]
    sight_free: tuple[Tensor, ...]
    sight_weights: tuple[Tensor, ...]

    def to(self, device: torch.device) -> SplatBatch:
        """The same on another device; calibration stays, it is composed in float64 on the CPU."""
        return moved(self, device, but=("poses", "K", "fits"))


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
        weights: Of the losses.
        config: The network's.
    """

    def __init__(self, weights: SplatLossWeights, config: GaussianFlowOccConfig) -> None:
        self._weights, self._config = weights, config

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
            "semantic": rendered_class_loss(logits, classes),
            "depth": rendered_depth_loss(depth_m[:, 0], target_m),
        }
        if self._weights.sight or self._weights.sight_semantic:
            terms |= sight_terms(self._sight(trained, batch))
        weights = {name: getattr(self._weights, name) for name in terms}
        return {name: weights[name] * term for name, term in terms.items() if weights[name]}

    @staticmethod
    def _pictures(
        trained: TrainedScene, batch: SplatBatch, sample: int
    ) -> Float[Tensor, "s c h w k"]:
        height, width = batch.classes[sample].shape[-2:]
        T, K = (t[sample].flatten(0, 1) for t in (batch.T_cam_ego, batch.intrinsics))
        cameras = SplatCameras(T, K, width=width, height=height)
        return render_steps(trained.scene.gaussians[sample], trained.means[sample], cameras)

    def _sight(self, trained: TrainedScene, batch: SplatBatch) -> list[VoxelAnswers]:
        """What the Gaussians say about the voxels of each time, where they are at that time."""
        seen = zip(
            batch.sight_voxels, batch.sight_classes, batch.sight_free, batch.sight_weights,
            strict=True,
        )  # fmt: skip
        answers = []
        for sample, (times, sight) in enumerate(zip(trained.means, seen, strict=True)):
            gaussians = trained.scene.gaussians[sample]
            for means, *parts in zip(times, *sight, strict=True):
                known = SightVoxels(*parts).known()
                there = gaussians._replace(means=means)
                answers.append(self._answers(there, known))
        return answers

    def _answers(self, gaussians: Gaussians, sight: SightVoxels) -> VoxelAnswers:
        voxels, places = sight.voxels.unique(return_inverse=True)
        grid, reach = self._config.grid_below_roof, self._config.reach
        sums = gaussians_at_voxels(gaussians, grid, reach, voxels)
        density = sums.density.index_select(0, places)
        ends = ~sight.free
        logits = sums.logits.index_select(0, places[ends])
        return VoxelAnswers(density, sight.free, sight.weights, logits, sight.labels[ends])
