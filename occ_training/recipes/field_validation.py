"""Scores of a density field during its training, by the system as it is run later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from occ_perception.eval.scoring import evaluate_system
from occ_perception.eval.voxel_scorers import GeometryScorer
from occ_perception.systems.field_system import FieldSystem


class Validation:
    """Geometry in view over bags with voxel truth: the one measure of ViPOcc and SceneDINO.

    Args:
        system: With the configuration of the network.
        bags: Bags that were not trained on.
        frames: At most so many frames, evenly chosen; 0 = all.
    """

    def __init__(self, system: FieldSystem, bags: Sequence[Path], frames: int = 0) -> None:
        self._system, self._bags, self._frames = system, bags, frames

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """IoU, precision and recall 0..1 at every range; "iou" is that of the whole grid."""
        wanted = self._system.network.state_dict()
        state = network.state_dict()
        self._system.network.load_state_dict({name: state[name] for name in wanted})
        scorer = GeometryScorer(free_id=self._system.labels.free_id, in_view=True)
        evaluate_system(self._system, self._bags, [scorer], frames=self._frames)
        found = {name: value for name, value in scorer.scores().items() if value is not None}
        widest = [value for name, value in found.items() if name.startswith("iou ")]
        return found | ({"iou": widest[-1]} if widest else {})
