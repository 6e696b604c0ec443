"""Which voxel classes the semantic head's answers stand for."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from occ_perception.core.cityscapes import SSCBENCH_15_OF_TRAIN_ID, TRAIN_IDS
from occ_perception.core.labels import CLUSTERS, LabelMap, load_label_map
from occ_perception.systems.scenedino.semantic_head import SemanticHead, SemanticMode

UNKNOWN = 255
_GOLDEN_TURN = 0.618034  # neighbouring clusters get colours far apart


class VoxelClasses(NamedTuple):
    """Meaning of the head's answers.

    Attributes:
        labels: What voxel ids mean.
        id_of: Voxel id of each answer of the head.
        are_named: False where the clusters were never assigned to classes.
    """

    labels: LabelMap
    id_of: UInt8[Tensor, " k"]
    are_named: bool


def voxel_classes(head: SemanticHead | None, mode: SemanticMode) -> VoxelClasses:
    """Meaning of a head's answers.

    Args:
        head: The head; None = the model knows no classes, only occupancy.
        mode: Way to the classes.
    """
    if head is None:
        return VoxelClasses(load_label_map("occupancy"), torch.zeros(0, dtype=torch.uint8), True)
    count = len(head.stego_clusters.assignment)
    if not is_assigned(head, mode):
        ids = torch.arange(1, count + 1, dtype=torch.uint8)
        return VoxelClasses(cluster_labels(count), ids, False)
    ids = torch.tensor(SSCBENCH_15_OF_TRAIN_ID, dtype=torch.uint8)
    return VoxelClasses(load_label_map("sscbench_15"), ids, True)


def is_assigned(head: SemanticHead, mode: SemanticMode) -> bool:
    """Whether answers are Cityscapes train ids: a fresh assignment counts the clusters only."""
    if mode in (SemanticMode.STEGO_LINEAR, SemanticMode.DIRECT_LINEAR):
        return True
    direct = mode is SemanticMode.DIRECT_KMEANS
    assignment = (head.direct_clusters if direct else head.stego_clusters).assignment.cpu()
    known = bool(((assignment >= 0) & (assignment < TRAIN_IDS)).all())
    return known and not torch.equal(assignment, torch.arange(len(assignment)))


def cluster_labels(count: int) -> LabelMap:
    """Label map of clusters without a name."""
    return LabelMap(
        name=f"{CLUSTERS}{count}",
        ids=tuple(range(count + 1)),
        names=("empty", *(f"cluster {k}" for k in range(count))),
        colors_rgb=((0, 0, 0), *(_colour(k) for k in range(count))),
        free_id=0,
        unknown_id=UNKNOWN,
        blocking_ids=tuple(range(1, count + 1)),
    )


def _colour(index: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN_TURN % 1, 0.65, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)
