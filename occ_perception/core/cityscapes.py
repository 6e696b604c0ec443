"""Cityscapes train ids, the classes of unsupervised segmentation: what other ids are in them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

TRAIN_NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
TRAIN_IDS = len(TRAIN_NAMES)
IGNORED = -1

# Index = train id; class of label map "sscbench_15". Sky and rider count as empty (S4C, SceneDINO).
SSCBENCH_15_OF_TRAIN_ID = (7, 8, 9, 9, 10, 13, 15, 14, 11, 12, 0, 6, 0, 1, 4, 5, 5, 3, 2)

# Train id -> ids that become it. Garage, gate, stop, small pole and box fall in with the nearest
# of the nineteen classes.
_KITTI360 = {
    **{0: (7,), 1: (8,), 2: (11, 34), 3: (12,), 4: (13, 35), 5: (17, 37), 6: (19,), 7: (20,)},
    **{8: (21,), 9: (22,), 10: (23,), 11: (24,), 12: (25,), 13: (26,), 14: (27,), 15: (28,)},
    **{16: (31,), 17: (32,), 18: (33,)},
}
_BDD100K = {
    **{0: (7,), 1: (8,), 2: (10,), 3: (15,), 4: (11,), 5: (20,), 6: (25,), 7: (26,), 8: (29,)},
    **{9: (28,), 10: (30,), 11: (31,), 12: (32,), 13: (35,), 14: (40,), 15: (34,), 16: (39,)},
    **{17: (37,), 18: (33,)},
}


def kitti360_train_ids(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int16]:
    """Train ids of KITTI-360 or Cityscapes ids; what is no class, or unknown, becomes -1.

    The official code turns ids that its table lacks into road.
    """
    return _table(_KITTI360)[np.where((ids >= 0) & (ids < 256), ids, 255)]


def bdd100k_train_ids(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int16]:
    """Train ids of BDD-100K's panoptic ids; what is no class becomes -1."""
    return _table(_BDD100K)[np.where((ids >= 0) & (ids < 256), ids, 255)]


def _table(train_ids: Mapping[int, tuple[int, ...]]) -> npt.NDArray[np.int16]:
    table = np.full(256, IGNORED, dtype=np.int16)
    for train_id, ids in train_ids.items():
        table[list(ids)] = train_id
    return table
