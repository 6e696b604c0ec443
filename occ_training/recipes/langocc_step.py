"""One step of LangOcc's training: batches, what is rendered of them, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from occ_perception.geometry.rays import Rays
from occ_perception.rendering.feature_rays import RaySampling, optical_depth, render_features
from occ_perception.systems.langocc.geometry import SurroundGeometry
from occ_perception.systems.langocc.model import LangOcc, LangOccFields, LangOccPlan
from occ_training.losses.language import cosine_guided_mse, ends_where_measured
from occ_training.recipes.langocc_data import LangOccSample

# A surface begins and ends so far from where it was measured; samples in front of it and across it.
_SURFACE_M = (0.3, 0.9)
_SURFACE_SAMPLES = (32, 6)


class LangOccBatch(NamedTuple):
    """Samples side by side; the fields are those of `LangOccSample`."""

    images: Tensor
    geometry: SurroundGeometry
    rays: Rays
    targets: Tensor
    weights: Tensor
    lengths_m: Tensor

    def to(self, device: torch.device) -> LangOccBatch:
        """The same on another device; the calibration stays, its plan is checked on the CPU."""
        here = (self.images, self.targets, self.weights, self.lengths_m, *self.rays)
        images, *values, origins, directions = (t.to(device, non_blocking=True) for t in here)
        return LangOccBatch(images, self.geometry, Rays(origins, directions), *values)


def collate(samples: Sequence[LangOccSample]) -> LangOccBatch:
    """A batch."""
    geometry = zip(*(s.geometry for s in samples), strict=True)
    return LangOccBatch(
        images=torch.stack([s.images for s in samples]),
        geometry=SurroundGeometry(*map(torch.cat, geometry)),
        rays=Rays(*map(torch.stack, zip(*(s.rays for s in samples), strict=True))),
        targets=torch.stack([s.targets for s in samples]),
        weights=torch.stack([s.weights for s in samples]),
        lengths_m=torch.stack([s.lengths_m for s in samples]),
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
        lidar: Weight of the rays' measured lengths.
    """

    def __init__(self, network: LangOcc, sampling: RaySampling, lidar: float = 0.0) -> None:
        self._plan, self._grid, self._sampling = network.plan, network.config.volume, sampling
        self._lidar = lidar

    def __call__(self, network: nn.Module, batch: LangOccBatch) -> dict[str, Tensor]:
        """Losses of a batch by name, weighed."""
        fields: LangOccFields = network(batch.images, self._plan(batch.geometry))
        jitter = self._jitter(batch, self._sampling.coarse - 1)
        rendered = render_features(
            fields.density, fields.vectors, batch.rays, jitter, self._grid, self._sampling
        )
        weights = batch.weights * rendered.hit[..., None]
        words = cosine_guided_mse(rendered.vectors, batch.targets, weights)
        if not self._lidar:
            return {"language": words}
        return {"language": words, "lidar": self._lidar * self._ends(fields, batch)}

    def _ends(self, fields: LangOccFields, batch: LangOccBatch) -> Tensor:
        """How far rays are from ending where the LiDAR met something."""
        surface, near = batch.lengths_m, self._sampling.near_m
        front = (surface - _SURFACE_M[0]).clamp(min=near)
        pieces = ((front.new_full(front.shape, near), front), (front, surface + _SURFACE_M[1]))
        before, across = (
            optical_depth(fields.density, batch.rays, *piece, self._jitter(batch, n), self._grid)
            for piece, n in zip(pieces, _SURFACE_SAMPLES, strict=True)
        )
        return ends_where_measured(before, across, batch.weights[..., 0])

    @staticmethod
    def _jitter(batch: LangOccBatch, samples: int) -> Tensor:
        return torch.rand(*batch.weights.shape[:2], samples, device=batch.weights.device)
