"""One step of LangOcc's training: batches, what is rendered of them, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from occ_perception.geometry.rays import Rays
from occ_perception.rendering.feature_rays import RaySampling, render_features
from occ_perception.systems.langocc.geometry import SurroundGeometry
from occ_perception.systems.langocc.model import LangOcc, LangOccFields, LangOccPlan
from occ_training.data.beam_sight import SightVoxels
from occ_training.data.moving import moved
from occ_training.losses.language import cosine_guided_mse
from occ_training.losses.sight import occupancy_loss
from occ_training.recipes.langocc_data import LangOccSample


class LangOccBatch(NamedTuple):
    """Samples side by side; the fields are those of `LangOccSample`."""

    images: Tensor
    geometry: SurroundGeometry
    rays: Rays
    targets: Tensor
    weights: Tensor
    sight: SightVoxels

    def to(self, device: torch.device) -> LangOccBatch:
        """The same on another device; the calibration stays, its plan is checked on the CPU."""
        return moved(self, device, but=("geometry",))


def collate(samples: Sequence[LangOccSample]) -> LangOccBatch:
    """A batch."""
    geometry = zip(*(s.geometry for s in samples), strict=True)
    return LangOccBatch(
        images=torch.stack([s.images for s in samples]),
        geometry=SurroundGeometry(*map(torch.cat, geometry)),
        rays=Rays(*map(torch.stack, zip(*(s.rays for s in samples), strict=True))),
        targets=torch.stack([s.targets for s in samples]),
        weights=torch.stack([s.weights for s in samples]),
        sight=SightVoxels(*map(torch.stack, zip(*(s.sight for s in samples), strict=True))),
    )


class TrainableLangOcc(LangOcc):
    """The network with what is rendered of it as its answer."""

    def forward(self, images: Tensor, plan: LangOccPlan) -> LangOccFields:  # type: ignore[override]
        """Density and vectors of all voxels around the current key frame."""
        return self.fields(super().forward(images, plan))


class LangOccLosses:
    """The rendered words of rays against the teacher's; as published, nothing else is active.

    Args:
        network: Whose plans are made.
        sampling: How rays are rendered.
        sight: Weight of what beams say about voxels; 0 = the geometry follows from the words.
    """

    def __init__(self, network: LangOcc, sampling: RaySampling, sight: float = 0.0) -> None:
        self._plan, self._grid, self._sampling = network.plan, network.config.volume, sampling
        self._at_voxels, self._sight_weight = network.at_voxels, sight

    def __call__(self, network: nn.Module, batch: LangOccBatch) -> dict[str, Tensor]:
        """Losses of a batch by name, weighed."""
        fields: LangOccFields = network(batch.images, self._plan(batch.geometry))
        jitter = self._jitter(batch, self._sampling.coarse - 1)
        rendered = render_features(
            fields.density, fields.vectors, batch.rays, jitter, self._grid, self._sampling
        )
        weights = batch.weights * rendered.hit[..., None]
        words = cosine_guided_mse(rendered.vectors, batch.targets, weights)
        if not self._sight_weight:
            return {"language": words}
        return {"language": words, "sight": self._sight_weight * self._sight(fields, batch)}

    def _sight(self, fields: LangOccFields, batch: LangOccBatch) -> Tensor:
        """How far the density is from what beams say, at the centres of their voxels."""
        density = self._at_voxels(fields.density, batch.sight.voxels.clamp(min=0))
        known = batch.sight.weights * (batch.sight.voxels >= 0)
        return occupancy_loss(density, ~batch.sight.free, known)

    @staticmethod
    def _jitter(batch: LangOccBatch, samples: int) -> Tensor:
        return torch.rand(*batch.weights.shape[:2], samples, device=batch.weights.device)
