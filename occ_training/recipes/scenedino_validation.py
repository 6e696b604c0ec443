"""Scores of SceneDINO during its training, by the system as it is run later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from occ_perception.core.errors import BagError
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.sscbench import GRID, SscBenchMetric, labels_of_raw
from occ_perception.eval.voxel_occupancy import INVALID
from occ_perception.systems.base import Context
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.system import SceneDinoSystem
from occ_training.data.bag_scene import Bags, BagScene, SampleSpec
from occ_training.data.samples import Voxels

VOXELS = "/ground_truth/voxels"


class Validation:
    """SSCBench's scores over bags, in three ranges.

    Args:
        config: Of the network.
        bags: Bags that were not trained on.
        frames: At most so many frames, evenly chosen; 0 = all.
    """

    def __init__(self, config: SceneDinoConfig, bags: Sequence[Path], frames: int = 0) -> None:
        self._system = SceneDinoSystem(config)
        self._bags = [
            (BagFrames(bag, self._system.needs, GRID.frame_id), truths(bag)) for bag in bags
        ]
        places = [(i, stamp) for i, (_, truth) in enumerate(self._bags) for stamp in truth]
        chosen = np.linspace(0, len(places) - 1, min(frames or len(places), len(places)))
        self._places = [places[i] for i in np.unique(chosen.round().astype(int))]

    def metric(self, network: nn.Module) -> SscBenchMetric:
        """Everything counted over the frames."""
        wanted = self._system.network.state_dict()
        state = network.state_dict()
        self._system.network.load_state_dict({name: state[name] for name in wanted})
        counted: SscBenchMetric | None = None
        for bag, stamp_ns in self._places:
            frames, truth = self._bags[bag]
            seen = frames.at(stamp_ns)
            if seen is None:
                continue
            view = self._system.preprocess(seen.frames[0])
            answer = self._system.infer([view], Context(stamp_ns))
            counted = counted or SscBenchMetric(answer.known)
            predicted = answer.labels.long().masked_fill(~answer.known, 0)
            counted.update(predicted, truth[stamp_ns])
        if counted is None:
            raise BagError("none of the validation bags has an image where it has voxels")
        return counted

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Scores 0..1."""
        scores = {}
        for range_m, result in self.metric(network).direct().items():
            done = result.completion
            scores |= {f"iou_{range_m:g}": done.iou, f"miou_{range_m:g}": done.miou}
            last = {"iou": done.iou, "precision": done.precision, "recall": done.recall}
        return scores | last | {"miou": done.miou}


def truths(bag: Path) -> dict[int, Int[Tensor, "x y z"]]:
    """Voxel truth of a bag in the 15 classes, by stamp; 255 where it is not known.

    Raises:
        BagError: There is none, or it is on another grid.
    """
    scene = BagScene(Bags(bag), SampleSpec(labels={"voxels": VOXELS}))
    found = {}
    for row in scene.anchors.tolist():
        voxels = scene.label("voxels", row)
        if not isinstance(voxels, Voxels) or voxels.labels is None or voxels.grid != GRID:
            raise BagError(f"bag {bag}: {VOXELS} holds no classes on SSCBench's grid")
        raw = torch.from_numpy(voxels.labels.astype(np.int64))
        if voxels.known is not None:
            raw = raw.masked_fill(~torch.from_numpy(voxels.known), INVALID)
        found[scene.stamp_ns(row)] = labels_of_raw(raw)
    return found
