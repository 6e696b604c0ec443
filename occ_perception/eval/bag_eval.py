"""Scores predictions against the voxel truth of a bag, wherever the predictions come from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.protocols import (
    Protocol,
    RangedMetric,
    Scores,
    find_protocol,
    scores_of,
)
from occ_perception.eval.voxel_truth import Labels, VoxelTopic
from occ_perception.systems.base import Context, OccupancySystem

Predict = Callable[[int], Labels | None]


@dataclass(frozen=True)
class FrameScore:
    """One frame, for finding the worst.

    Attributes:
        stamp_ns: Stamp.
        scores: At the largest range.
    """

    stamp_ns: int
    scores: Scores


@dataclass
class Evaluation:
    """What came out.

    Attributes:
        protocol: Benchmark.
        metric: Counts.
        frames: One entry per scored frame, in order.
        missing: Stamps with truth for which there was no prediction.
        answering_s: Time that the answers took, reading of the images included.
        total_s: Time in all.
    """

    protocol: Protocol
    metric: RangedMetric
    frames: list[FrameScore] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    answering_s: float = 0.0
    total_s: float = 0.0

    def worst(self, count: int) -> list[FrameScore]:
        """The frames with the lowest mean IoU."""
        defined = [f for f in self.frames if f.scores.miou is not None]
        return sorted(defined, key=lambda f: (f.scores.miou, f.stamp_ns))[:count]


def evaluate(
    truth: VoxelTopic,
    predict: Predict,
    *,
    stamps_ns: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score predictions at every stamp that has truth.

    Args:
        truth: Voxel truth.
        predict: Class ids for a stamp, or None if there are none.
        stamps_ns: Only these stamps.
        device: Where counts are made.
        progress: Told the number of frames done.

    Raises:
        OccError: Ids or grids do not fit.
    """
    metric = RangedMetric(find_protocol(truth.label_map.name), truth.grid, device)
    out = Evaluation(metric.protocol, metric)
    start = time.perf_counter()
    for number, stamp_ns in enumerate(truth.stamps_ns if stamps_ns is None else stamps_ns):
        before = time.perf_counter()
        prediction = predict(stamp_ns)
        out.answering_s += time.perf_counter() - before
        target = truth.truth_at(stamp_ns)
        if prediction is None or target is None:
            out.missing.append(stamp_ns)
        else:
            given, wanted = (torch.from_numpy(v).to(device) for v in (prediction, target))
            metric.update(given, wanted)
            alone = RangedMetric(metric.protocol, truth.grid, device).metrics.popitem()[1]
            alone.update(given, wanted)
            out.frames.append(FrameScore(stamp_ns, scores_of(alone)))
        if progress is not None:
            progress(number + 1)
    out.total_s = time.perf_counter() - start
    return out


def system_predictions(system: OccupancySystem, frames: BagFrames) -> Predict:
    """A system's answers to the frame sets of a bag."""

    def predict(stamp_ns: int) -> Labels | None:
        found = frames.at(stamp_ns)
        if found is None:
            return None
        views = [system.preprocess(frame) for frame in found.frames]
        return system.infer(views, Context(stamp_ns, found.T_world_base)).labels.cpu().numpy()

    return predict


def shuffled(predict: Predict, stamps_ns: Sequence[int], shift: int = 1) -> Predict:
    """Answers to the images of other frames: what a network scores that does not look.

    Args:
        predict: Answers by stamp.
        stamps_ns: Stamps among which images change places.
        shift: By how many places; with several scenes more than a scene is long.
    """
    other = dict(zip(stamps_ns, np.roll(np.array(stamps_ns), shift).tolist(), strict=True))
    return lambda stamp_ns: predict(other[stamp_ns])


def stored_predictions(topic: VoxelTopic) -> Predict:
    """Answers that a node has recorded."""
    return topic.at
