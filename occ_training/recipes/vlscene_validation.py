"""Scores of VLScene during its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from occ_perception.eval.protocols import SEMANTICKITTI, RangedMetric
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry
from occ_perception.systems.vlscene.view_transformer import PlanCache
from occ_training.recipes.vlscene import VLScenePreset
from occ_training.recipes.vlscene_data import VLSceneDataset, VLSceneTopics


class Validation:
    """IoU and mIoU over bags; what is not defined is left out.

    Args:
        preset: Network and topics.
        bags: Bags that were not trained on.
    """

    def __init__(self, preset: VLScenePreset, bags: Sequence[Path]) -> None:
        named = preset.training.topics
        topics = VLSceneTopics(named.left, named.right, named.voxels, points="")
        self._dataset = VLSceneDataset(bags, preset.network, topics, preset.training.fit)
        self._grid = preset.network.grid

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Scores 0..1 over the whole grid."""
        network.eval()
        device = next(network.parameters()).device
        plan = PlanCache(network.plan)
        metric = RangedMetric(SEMANTICKITTI, self._grid, device)
        for index in range(len(self._dataset)):
            sample = self._dataset[index]
            geometry: StereoGeometry = sample.geometry
            images = (image[None].to(device) for image in (sample.left, sample.right))
            answer = network.predict(*images, plan(geometry))
            metric.update(answer.labels[0], sample.truth.to(device))
        scores = metric.scores()[max(SEMANTICKITTI.ranges_m)]
        found = {"iou": scores.iou, "miou": scores.miou}
        return {name: value for name, value in found.items() if value is not None}
