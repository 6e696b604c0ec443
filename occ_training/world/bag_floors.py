"""The floors of bags: what their voxel truth scores without a network, by the same benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from occ_perception.bags.images import decode_values
from occ_perception.bags.index import MessageStore, TopicIndex, open_index
from occ_perception.bags.messages import MessageTypes
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.protocols import RangedMetric, Scores, find_protocol
from occ_perception.eval.voxel_truth import Labels, VoxelTopic
from occ_perception.systems.base import Needs
from occ_perception.systems.roles import STEREO
from occ_training.world.classes import IGNORED, lookup
from occ_training.world.floors import BlindGuess
from occ_training.world.teachers import guessed_depth

LIDAR_HEIGHT_M = 1.73  # of the grid's frame above the ground, KITTI's car
_GROUND = (
    "road", "parking", "sidewalk", "other-ground", "terrain",
    "driveable_surface", "other_flat",
)  # fmt: skip
_SAME_INSTANT_NS = 1_000_000


@dataclass(frozen=True)
class FloorMaps:
    """Predictions that are the same whatever the images show.

    Attributes:
        maps: Class ids `[X, Y, Z]` by the name of the floor.
    """

    maps: Mapping[str, Labels]

    @classmethod
    def learn(cls, bags: Sequence[Path]) -> FloorMaps:
        """The floors that a training set teaches.

        Raises:
            BagError: A bag has no voxel truth.
        """
        guess = None
        for bag in bags:
            truth = VoxelTopic(bag, truth=True)
            if guess is None:
                guess = _blind_guess(truth)
            for stamp_ns in truth.stamps_ns:
                guess.add(truth.truth_at(stamp_ns))
        if guess is None:
            raise ConfigError("floors are learnt from bags: name at least one")
        mean = guess.mean_map()
        return cls(
            {
                "all free": np.full_like(mean, guess.free_id),
                "mean map of the training set": mean,
                "flat ground, class by distance": guess.flat_ground(),
                "best map without looking": guess.best_map(),
            }
        )

    def save(self, path: Path) -> None:
        """Write a compressed file."""
        np.savez_compressed(path, **self.maps)

    @classmethod
    def load(cls, path: Path) -> FloorMaps:
        """Read it.

        Raises:
            ConfigError: There is no such file.
        """
        if not path.is_file():
            raise ConfigError(f"floors '{path}' do not exist: make them with `occ floors --train`")
        with np.load(path, allow_pickle=False) as file:
            return cls({name: file[name] for name in file.files})


def _blind_guess(truth: VoxelTopic) -> BlindGuess:
    """For the classes and the grid of a truth."""
    labels = truth.label_map
    ground = [i for i, name in zip(labels.ids, labels.names, strict=True) if name in _GROUND]
    # A scanner's frame is up on the roof, a vehicle's on the ground.
    height_m = 0.0 if truth.grid.frame_id == "base_link" else -LIDAR_HEIGHT_M
    return BlindGuess(truth.grid, height_m, ground, max(labels.ids) + 1, labels.free_id)


class DepthGuess:
    """Floor 4: the stand-in for a depth network, each pixel with its true class, as voxels.

    Args:
        bag: Bag of the procedural world with a colour pair.
        grid: Where the voxels are.
        cameras: Image topics of the pair; empty = found in the bag.

    Raises:
        OccError: The bag has no pair, or not the truth of its pixels.
    """

    def __init__(self, bag: Path, grid: GridSpec, cameras: Sequence[str] = ()) -> None:
        self._grid, index = grid, open_index(bag)
        self._store, self._types = MessageStore(index.files), MessageTypes()
        frames = BagFrames(bag, Needs(STEREO, stereo=True), grid.frame_id, cameras)
        self._cameras = frames.cameras
        self._topics = []
        for image in frames.image_topics:
            folder = f"/ground_truth{image.removesuffix('/compressed').rsplit('/', 1)[0]}"
            wanted = (f"{folder}/depth", f"{folder}/semantic/compressed")
            if any(name not in index.topics for name in wanted):
                raise BagError(f"bag {bag} has no depth and classes below {folder}")
            self._topics.append(tuple(index.topics[name] for name in wanted))
        self._ids = _from_cityscapes()

    def __call__(self, stamp_ns: int) -> Labels:
        """The answer for a stamp."""
        out = np.zeros(self._grid.shape, dtype=np.uint8)
        for number, (camera, topics) in enumerate(zip(self._cameras, self._topics, strict=True)):
            depth_m, classes = (self._image(topic, stamp_ns) for topic in topics)
            depth_m = np.where(depth_m > 0, depth_m, np.inf).astype(np.float64)
            guess = guessed_depth(depth_m, np.random.default_rng([number, stamp_ns % 2**32]))
            v, u = np.nonzero((guess > 0) & (self._ids[classes] != IGNORED))
            P, z = camera.P, guess[v, u]
            local = np.stack([(u * z - P[0, 2] * z - P[0, 3]) / P[0, 0],
                              (v * z - P[1, 2] * z - P[1, 3]) / P[1, 1], z], axis=-1)  # fmt: skip
            T = self._cameras[0].T_base_cam  # P has the baseline
            points, inside = self._grid.index_of(local @ T[:3, :3].T + T[:3, 3])
            out[tuple(points[inside].T)] = self._ids[classes[v, u]][inside]
        return out

    def _image(self, topic: TopicIndex, stamp_ns: int) -> npt.NDArray[np.generic]:
        row = topic.nearest(stamp_ns, _SAME_INSTANT_NS)
        if row is None:
            raise BagError(f"topic {topic.name} has nothing at {stamp_ns}")
        return decode_values(self._types.decode(topic.msgtype, self._store.read(topic.place(row))))


def _from_cityscapes() -> npt.NDArray[np.uint8]:
    """Cityscapes' ids to SemanticKITTI's; where several classes share one the first counts."""
    table = np.full(256, IGNORED, dtype=np.uint8)
    for ours, theirs in zip(lookup("cityscapes")[::-1], lookup("semantickitti")[::-1], strict=True):
        if ours != IGNORED and theirs not in (0, IGNORED):
            table[ours] = theirs
    return table


def score_floors(
    bags: Sequence[Path],
    maps: FloorMaps,
    *,
    with_depth: bool = False,
    topics: Sequence[str] = (),
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Scores]:
    """Scores of all floors over the truth of bags, at the widest range.

    Args:
        bags: Bags with voxel truth.
        maps: Floors that are the same everywhere.
        with_depth: Floor 4 as well.
        topics: Image topics of the pair that it is of; empty = found in the bags.
        progress: Told every frame.

    Raises:
        OccError: Truth or pixels cannot be read.
    """
    metrics: dict[str, RangedMetric] = {}
    for bag in bags:
        truth = VoxelTopic(bag, truth=True)
        depth = DepthGuess(bag, truth.grid, topics) if with_depth else None
        for stamp_ns in truth.stamps_ns:
            target = torch.from_numpy(truth.truth_at(stamp_ns))
            answers = dict(maps.maps)
            if depth is not None:
                answers["depth stand-in unprojected"] = depth(stamp_ns)
            count_answers(metrics, answers, target, truth)
            progress()
    return {name: widest(metric) for name, metric in metrics.items()}


def score_recording(recording: Path, source: Path, name: str, maps: FloorMaps) -> dict[str, Scores]:
    """Scores of a node's recorded voxels, and of the floors at the same stamps.

    Nothing where answers and truth do not speak of the same classes.

    Args:
        recording: Bag with predicted voxels.
        source: Bag with truth.
        name: What the prediction is called.
        maps: Floors that are the same everywhere.

    Raises:
        OccError: Voxels or truth cannot be read.
    """
    metrics: dict[str, RangedMetric] = {}
    truth, given = VoxelTopic(source, truth=True), VoxelTopic(recording, truth=False)
    if given.label_map.name != truth.label_map.name:
        return {}
    for stamp_ns in truth.stamps_ns:
        labels = given.at(stamp_ns)
        if labels is not None:
            target = torch.from_numpy(truth.truth_at(stamp_ns))
            count_answers(metrics, {name: labels, **maps.maps}, target, truth)
    return {name: widest(metric) for name, metric in metrics.items()}


def has_voxel_truth(bag: Path) -> bool:
    """Whether a bag can be scored."""
    try:
        VoxelTopic(bag, truth=True)
    except BagError:
        return False
    return True


def count_answers(
    metrics: dict[str, RangedMetric],
    answers: Mapping[str, Labels],
    target: torch.Tensor,
    truth: VoxelTopic,
) -> None:
    """Add a frame to the metric of each name."""
    protocol = find_protocol(truth.label_map.name)
    for name, labels in answers.items():
        metric = metrics.setdefault(name, RangedMetric(protocol, truth.grid))
        metric.update(torch.from_numpy(labels), target)


def widest(metric: RangedMetric) -> Scores:
    """Scores over the whole grid."""
    return metric.scores()[max(metric.protocol.ranges_m)]
