"""Scores predictions against the voxel truth of a bag, wherever the predictions come from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from occ_perception.bags.cameras import BagCamera, cameras_of_bag
from occ_perception.bags.images import decode_rgb
from occ_perception.bags.index import MessageStore, TopicIndex, open_index
from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import find_stereo
from occ_perception.bags.transforms import TransformTable
from occ_perception.core.camera import Camera
from occ_perception.core.errors import BagError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import CameraFrame
from occ_perception.eval.protocols import (
    IGNORE,
    Protocol,
    RangedMetric,
    Scores,
    find_protocol,
    scores_of,
)
from occ_perception.systems.base import Context, OccupancySystem

TRUTH, VOXELS = "/ground_truth/voxels", "occ_msgs/msg/VoxelGrid"
SAME_INSTANT_NS = 50_000_000

Labels = npt.NDArray[np.uint8]
Predict = Callable[[int], Labels | None]


class VoxelTopic:
    """The voxel grids of one topic of a bag, by stamp.

    Args:
        bag: The bag.
        topic: Name; empty = the only voxel topic that is (not) truth.
        truth: Which of the two is looked for.

    Raises:
        BagError: There is no such topic.
    """

    def __init__(self, bag: Path, topic: str = "", *, truth: bool) -> None:
        self.bag = bag
        index = open_index(bag)
        names = [
            t.name for t in index.topics.values()
            if t.msgtype == VOXELS and len(t) and (t.name == topic if topic else
            ("/ground_truth/" in t.name) == truth)
        ]  # fmt: skip
        if len(names) != 1:
            kind = "voxel truth" if truth else "predicted voxels"
            raise BagError(f"bag {bag} has {len(names)} topics of {kind} ({names}), name one")
        self._topic = index.topics[names[0]]
        self._store, self._types = MessageStore(index.files), MessageTypes()
        first = self._message(0)
        self.label_map = load_label_map(first.label_map)
        self.grid = _grid_of(first)

    @property
    def stamps_ns(self) -> list[int]:
        """Stamps in order."""
        return self._topic.stamps_ns.tolist()

    def at(self, stamp_ns: int) -> Labels | None:
        """The ids of exactly this stamp, 255 where a truth is unknown; None if there are none."""
        row = self._topic.nearest(stamp_ns, 0)
        if row is None:
            return None
        message = self._message(row)
        if _grid_of(message) != self.grid or message.labels.size != self.grid.count:
            raise BagError(f"bag {self.bag}: the grid on {self._topic.name} changes at {stamp_ns}")
        return np.array(message.labels, np.uint8).reshape(self.grid.shape)

    def truth_at(self, stamp_ns: int) -> Labels | None:
        """The same with everything that is not known as 255."""
        labels = self.at(stamp_ns)
        if labels is None:
            return None
        row = self._topic.nearest(stamp_ns, 0)
        known = self._message(row).known
        labels[labels == self.label_map.unknown_id] = IGNORE
        if known.size:
            labels[known.reshape(labels.shape) == 0] = IGNORE
        strangers = np.setdiff1d(labels, [*self.label_map.ids, IGNORE])
        if strangers.size:
            raise BagError(f"bag {self.bag}: ids {strangers.tolist()} at {stamp_ns} are no classes")
        return labels

    def _message(self, row: int) -> Any:
        return self._types.decode(VOXELS, self._store.read(self._topic.place(row)))


def _grid_of(message: Any) -> GridSpec:
    corner, size_m = message.origin.position, round(float(message.resolution), 6)
    return GridSpec(
        (corner.x, corner.y, corner.z),
        (size_m,) * 3,
        (message.size_x, message.size_y, message.size_z),
        message.header.frame_id.lstrip("/"),
    )


class StereoFrames:
    """The stereo pair of a bag by stamp, placed in a system's grid frame.

    Args:
        bag: The bag.
        grid_frame: Frame in which the cameras' poses are wanted.

    Raises:
        OccError: No pair, no calibration or no pose.
    """

    def __init__(self, bag: Path, grid_frame: str) -> None:
        with BagReader(bag) as reader:
            stereo = find_stereo(reader)
        index = open_index(bag)
        self._store, self._types = MessageStore(index.files), MessageTypes()
        cameras, transforms = (
            cameras_of_bag(index, self._store),
            TransformTable.of_bag(index, self._store),
        )
        self._views: list[tuple[TopicIndex, Camera]] = []
        for name, image in (("left", stereo.left_image), ("right", stereo.right_image)):
            source = cameras[image]
            pose = transforms.fixed(grid_frame, source.frame_id)
            self._views.append((index.topics[image], _camera(name, source, pose)))

    @property
    def stamps_ns(self) -> list[int]:
        """Stamps of the left images."""
        return self._views[0][0].stamps_ns.tolist()

    def at(self, stamp_ns: int) -> tuple[CameraFrame, ...] | None:
        """Left and right frame of an instant; None if one of them is missing."""
        frames = []
        for topic, camera in self._views:
            row = topic.nearest(stamp_ns, SAME_INSTANT_NS)
            if row is None:
                return None
            message = self._types.decode(topic.msgtype, self._store.read(topic.place(row)))
            frames.append(CameraFrame(decode_rgb(message), camera, int(topic.stamps_ns[row])))
        return tuple(frames)


def _camera(name: str, source: BagCamera, pose: npt.NDArray[np.float64]) -> Camera:
    distortion = () if source.is_rectified else source.D
    return Camera(name, source.P, source.width, source.height, pose, distortion)


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


def system_predictions(system: OccupancySystem, frames: StereoFrames) -> Predict:
    """A system's answers to the stereo pairs of a bag."""

    def predict(stamp_ns: int) -> Labels | None:
        pair = frames.at(stamp_ns)
        if pair is None:
            return None
        views = [system.preprocess(frame) for frame in pair]
        return system.infer(views, Context(stamp_ns)).labels.cpu().numpy()

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
