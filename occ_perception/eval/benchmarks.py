"""Which benchmarks judge which system, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from occ_perception.core.cityscapes import TRAIN_IDS, bdd100k_train_ids, kitti360_train_ids
from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import CLUSTERS, LabelMap
from occ_perception.eval.depth_scorer import DepthScorer
from occ_perception.eval.occ3d import GAUSSIANFLOWOCC_PROTOCOL, LANGOCC_PROTOCOL
from occ_perception.eval.occ3d_scorers import Occ3DScorer, RayScorer
from occ_perception.eval.scoring import Scorer
from occ_perception.eval.segmentation_scorer import SegmentationScorer, TrainIds
from occ_perception.eval.slice_scorer import SliceScorer
from occ_perception.eval.sscbench_scorer import SscBenchScorer
from occ_perception.eval.voxel_occupancy_scorer import VoxelOccupancyScorer
from occ_perception.eval.voxel_scorers import CompletionScorer, GeometryScorer


class Answering(Protocol):
    """Whose answers are judged: a system, or what is known of kept answers.

    Attributes:
        labels: Meaning of the ids.
    """

    labels: LabelMap


Make = Callable[[Answering, str], Scorer]


def _geometry(system: Answering, topic: str) -> Scorer:
    return GeometryScorer(topic, free_id=system.labels.free_id)


def _in_view(system: Answering, topic: str) -> Scorer:
    return GeometryScorer(topic, free_id=system.labels.free_id, in_view=True)


def _lidar_occupancy(system: Answering, topic: str) -> Scorer:
    network = getattr(system, "system", system)  # kept answers have no field to be asked
    return SliceScorer(network)


def _segmentation(
    system: Answering, train_ids: TrainIds = kitti360_train_ids, *, crf: bool = False
) -> Scorer:
    """Of train ids, or of clusters that the weights do not name."""
    labels = system.labels
    are_clusters = labels.name.startswith(CLUSTERS)
    answers = max(TRAIN_IDS, len(labels.ids) - 1) if are_clusters else TRAIN_IDS
    return SegmentationScorer(train_ids, answers, not are_clusters, crf)


# Name -> how to make it for a system and the topic of the truth.
BENCHMARKS: Mapping[str, Make] = {
    "completion": lambda system, topic: CompletionScorer(topic),
    "geometry": _geometry,
    "geometry_in_view": _in_view,
    "occ3d": lambda system, topic: Occ3DScorer(LANGOCC_PROTOCOL, topic),
    "occ3d_15": lambda system, topic: Occ3DScorer(GAUSSIANFLOWOCC_PROTOCOL, topic),
    "rayiou": lambda system, topic: RayScorer(topic),
    "sscbench15": lambda system, topic: SscBenchScorer(topic),
    "voxel_occupancy": lambda system, topic: VoxelOccupancyScorer(topic),
    "lidar_occupancy": _lidar_occupancy,
    "depth": lambda system, topic: DepthScorer("depth"),
    "predicted_depth": lambda system, topic: DepthScorer("predicted_depth"),
    "depth_eigen": lambda system, topic: DepthScorer("depth", crop=True),
    "segmentation": lambda system, topic: _segmentation(system),
    "segmentation_crf": lambda system, topic: _segmentation(system, crf=True),
    "segmentation_bdd100k": lambda system, topic: _segmentation(system, bdd100k_train_ids),
}

WITHOUT_VOXELS = frozenset(
    {"lidar_occupancy", "depth", "predicted_depth", "depth_eigen"}
    | {"segmentation", "segmentation_crf", "segmentation_bdd100k"}
)

# What each publication reports; the first one decides which frames are the worst.
OF_SYSTEM: Mapping[str, tuple[str, ...]] = {
    "vlscene": ("completion",),
    "langocc": ("occ3d",),
    "gaussianflowocc": ("occ3d_15",),
    "vipocc": ("lidar_occupancy", "depth"),
    "scenedino": ("sscbench15",),
}


def benchmarks(
    system_name: str, system: Answering, names: Sequence[str] = (), topic: str = ""
) -> list[Scorer]:
    """Benchmarks by name.

    Args:
        system_name: Key of the catalogue.
        system: Whose answers are judged.
        names: Keys of `BENCHMARKS`; empty = those of the publication.
        topic: Topic of the voxel truth; empty = the only one.

    Raises:
        ConfigError: A name is not known.
    """
    wanted = tuple(names) or OF_SYSTEM[system_name]
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        raise ConfigError(f"unknown benchmark '{unknown[0]}'; available: {', '.join(BENCHMARKS)}")
    return [BENCHMARKS[name](system, topic) for name in wanted]
