"""The density from which on a trained field's voxels are best called occupied, on training bags.

python -m occ_training.recipes.field_threshold --system vipocc --weights W --bags TRAIN/*
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import tyro
from rich.console import Console
from torch import Tensor

from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.protocols import IGNORE, within_range
from occ_perception.eval.scoring import Scores, evaluate_system
from occ_perception.eval.voxel_scorers import VoxelScorer, find_ranges, voxels_in_view
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.systems.field_system import FieldSystem
from occ_perception.weights.load import load_weights

CUTS = np.geomspace(0.1, 15.0, 60)


class DensityScorer(VoxelScorer):
    """Geometry in view at every threshold of the density instead of the configured one.

    Args:
        occupied_density: The configured one, which confidences are relative to, 1/m.
        free_id: Id of empty space in the answers.
    """

    name = "geometry in view by density"

    def __init__(self, occupied_density: float, free_id: int) -> None:
        super().__init__()
        self._occupied_density, self._free_id = occupied_density, free_id
        self._parts: dict[float, npt.NDArray[np.int64]] = {}
        self._mask: npt.NDArray[np.bool_] | None = None

    def open(self, frames: BagFrames) -> VoxelTopic:
        """Begin with a bag."""
        truth = super().open(frames)
        self._mask = voxels_in_view(truth.grid, frames.cameras[0])
        return truth

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Count an answer."""
        target = self.target(prediction, stamp_ns).numpy()
        density = self._density(prediction)
        known = (target != IGNORE) & self._mask
        wanted = target != self.truth.label_map.free_id
        for range_m in find_ranges(self.truth):
            here = known & within_range(self.truth.grid, range_m)
            hit, missed = (
                np.histogram(density[here & part], [-np.inf, *CUTS, np.inf])[0]
                for part in (wanted, ~wanted)
            )
            above = [part[::-1].cumsum()[::-1][1:] for part in (hit, missed)]
            counts = np.stack([above[0], hit.sum() + above[1]])  # both, either
            self._parts[range_m] = self._parts.get(range_m, 0) + counts
        return None

    def scores(self) -> Scores:
        """IoU at the best density of each range."""
        return {f"iou {range_m:g} m": float(x.max()) for range_m, x in self.ious().items()}

    def ious(self) -> dict[float, npt.NDArray[np.float64]]:
        """IoU at every cut, by range."""
        return {r: both / np.maximum(either, 1) for r, (both, either) in self._parts.items()}

    def _density(self, prediction: Prediction) -> npt.NDArray[np.float32]:
        """What the answer was decided by; confidences are opacities, see `FieldSystem`."""
        free = (prediction.labels == self._free_id) | ~prediction.known
        clear: Tensor = torch.where(free, prediction.confidence, 1 - prediction.confidence)
        density = -clear.clamp(min=1e-12).log2() * self._occupied_density
        return density.masked_fill(~prediction.known, 0.0).numpy()


def best_density(system: FieldSystem, bags: Sequence[Path], frames: int) -> dict[str, float]:
    """The density with the highest mean of the ranges' IoUs, and these.

    Args:
        system: With trained weights.
        bags: Bags that were trained on, with voxel truth.
        frames: At most so many frames, evenly chosen; 0 = all.

    Raises:
        OccError: The bags cannot be used.
    """
    scorer = DensityScorer(system.config.occupied_density, system.labels.free_id)
    evaluate_system(system, bags, [scorer], frames=frames)
    ious = scorer.ious()
    best = int(np.mean(list(ious.values()), axis=0).argmax())
    scores = {f"iou {range_m:g} m": float(values[best]) for range_m, values in ious.items()}
    return {"occupied_density": float(CUTS[best]), **scores}


@dataclass(frozen=True)
class ThresholdOptions:
    """Choose the density from which on voxels are occupied.

    Attributes:
        system: Whose nano weights.
        weights: The weights.
        bags: Bags that were trained on.
        frames: At most so many of their frames; 0 = all.
    """

    system: Literal["vipocc", "scenedino"]
    weights: Path
    bags: tuple[Path, ...]
    frames: int = 24


def nano_system(name: str, weights: Path) -> FieldSystem:
    """A system with nano weights.

    Raises:
        WeightsError: They do not fit.
    """
    from occ_perception.systems.scenedino.config import SceneDinoConfig
    from occ_perception.systems.scenedino.system import SceneDinoSystem
    from occ_perception.systems.vipocc.config import ViPOccConfig
    from occ_perception.systems.vipocc.system import ViPOccSystem

    if name == "vipocc":
        system: FieldSystem = ViPOccSystem(ViPOccConfig.nano())
    else:
        system = SceneDinoSystem(SceneDinoConfig.nano())
    load_weights(system.network, weights, name)
    return system


def main(options: ThresholdOptions) -> None:
    """Choose and print."""
    system = nano_system(options.system, options.weights)
    for name, value in best_density(system, options.bags, options.frames).items():
        Console().print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(ThresholdOptions, args=sys.argv[1:]))
