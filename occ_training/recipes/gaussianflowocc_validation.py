"""Scores of GaussianFlowOcc during its training: Occ3D's, over whole drives as they are driven."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from occ_perception.blocks.surround_input import fit_image
from occ_perception.core.errors import BagError
from occ_perception.eval.occ3d import (
    FREE,
    GAUSSIANFLOWOCC_PROTOCOL,
    Occ3DMetric,
    Occ3DResult,
)
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.history import GaussianHistory
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc
from occ_perception.voxels.gaussians import VoxelLabels
from occ_training.data.bag_scene import Bags
from occ_training.data.surround import SurroundDrive, SurroundDrives, SurroundSpec
from occ_training.recipes.gaussianflowocc_data import SplatTopics, network_images, vehicle_poses

TRUTH, SEEN = "voxels", "seen"
_LAYERS = {TRUTH: "/ground_truth/voxels", SEEN: "/ground_truth/camera_mask"}


class Validation:
    """IoU and mIoU in percent over bags that were not trained on.

    Args:
        config: The network's.
        topics: Where in the bags things are.
        bags: With voxel truth and camera masks.
        shuffled: Show every key frame the images of another drive's: the control that the network
            looks at all; needs two bags.
    """

    def __init__(
        self,
        config: GaussianFlowOccConfig,
        topics: SplatTopics,
        bags: Sequence[Bags | Path],
        *,
        shuffled: bool = False,
    ) -> None:
        self._config, self._shuffled = config, shuffled
        spec = SurroundSpec(
            config.cameras, layers=_LAYERS, reference=topics.reference,
            base_frame=config.frame_id, world_frame=topics.world_frame,
        )  # fmt: skip
        self._drives = SurroundDrives(bags, spec).scenes

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Scores 0..1 with the threshold of the configuration."""
        result = self.scores(network, [self._config.free_below])[0]
        found = {"iou": result.iou / 100, "miou": result.miou / 100}
        return {name: value for name, value in found.items() if not np.isnan(value)}

    def scores(self, network: nn.Module, thresholds: Sequence[float]) -> list[Occ3DResult]:
        """Scores of a network at several thresholds of the density."""
        plain = GaussianFlowOcc(self._config)
        plain.load_state_dict(network.state_dict())
        metrics = [Occ3DMetric(GAUSSIANFLOWOCC_PROTOCOL) for _ in thresholds]
        for number, drive in enumerate(self._drives):
            shown = self._drives[number - 1] if self._shuffled else drive
            for key, voxels in enumerate(self._driven(plain.eval(), drive, shown)):
                truth, seen = truth_of(drive, key)
                for metric, threshold in zip(metrics, thresholds, strict=True):
                    free = voxels.free(threshold)
                    metric.update(torch.where(free, FREE, voxels.classes), truth, seen)
        return [metric.result() for metric in metrics]

    @torch.no_grad()
    def _driven(
        self, network: GaussianFlowOcc, drive: SurroundDrive, shown: SurroundDrive
    ) -> Iterator[VoxelLabels]:
        """Voxels of every key frame of a drive, with the images of another one if that is shown."""
        history = GaussianHistory(network)
        for key in range(len(drive)):
            other = key % len(shown)
            fits = [fit_image(*size, self._config.input_size) for size in drive.sizes(key)]
            poses, K, M = (
                torch.from_numpy(part)[None]
                for part in (
                    vehicle_poses(drive, key, key),
                    drive.K(key),
                    np.stack([fit.matrix() for fit in fits]),
                )
            )
            images: Float[Tensor, "1 n 3 h w"] = network_images(shown, other, fits)[None]
            scene = history.step(images, network.plan(poses, K, M), drive.T_world_ego(key))
            yield network.voxels(scene.gaussians[0])


def truth_of(
    drive: SurroundDrive, key: int
) -> tuple[UInt8[Tensor, "x y z"], Bool[Tensor, "x y z"]]:
    """Voxel truth of a key frame, and which of it counts: what its cameras see.

    Raises:
        BagError: The layers are no voxels with labels and no mask.
    """
    labels = getattr(drive.layer(TRUTH, key), "labels", None)
    seen = getattr(drive.layer(SEEN, key), "known", None)
    if labels is None or seen is None:
        raise BagError(f"bag {drive.name}: Occ3D's score needs voxel labels and a camera mask")
    return torch.from_numpy(labels.copy()), torch.from_numpy(seen.copy())
