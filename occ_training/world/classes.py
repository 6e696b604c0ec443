"""Classes of the procedural world and what each is called in every data set it imitates."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

IGNORED = 255


class Class(IntEnum):
    """Internal class ids."""

    FREE = 0
    CAR = 1
    BICYCLE = 2
    MOTORCYCLE = 3
    TRUCK = 4
    BUS = 5
    CONSTRUCTION_VEHICLE = 6
    TRAILER = 7
    PERSON = 8
    BICYCLIST = 9
    MOTORCYCLIST = 10
    ROAD = 11
    PARKING = 12
    SIDEWALK = 13
    OTHER_GROUND = 14
    BUILDING = 15
    FENCE = 16
    VEGETATION = 17
    TRUNK = 18
    TERRAIN = 19
    POLE = 20
    TRAFFIC_SIGN = 21
    TRAFFIC_LIGHT = 22
    BARRIER = 23
    CONE = 24
    OTHER_STRUCTURE = 25
    OTHER_OBJECT = 26
    EGO = 27
    SKY = 28


COUNT = len(Class)
GROUND = (Class.ROAD, Class.PARKING, Class.SIDEWALK, Class.OTHER_GROUND, Class.TERRAIN)
VEHICLES = tuple(Class(i) for i in range(1, 8))
WITH_INSTANCES = tuple(Class(i) for i in range(1, 11))

# One row per class: SemanticKITTI raw, raw when moving, train; SSCBench; Occ3D; nuScenes
# lidarseg; Cityscapes label; colour as in the data sets' files.
_TABLE: dict[Class, tuple[int, int, int, int, int, int, int, tuple[int, int, int]]] = {
    Class.FREE: (0, 0, 0, 0, 17, 0, 0, (0, 0, 0)),
    Class.CAR: (10, 252, 1, 1, 4, 17, 26, (100, 150, 245)),
    Class.BICYCLE: (11, 11, 2, 2, 2, 14, 33, (100, 230, 245)),
    Class.MOTORCYCLE: (15, 15, 3, 3, 6, 21, 32, (30, 60, 150)),
    Class.TRUCK: (18, 258, 4, 4, 10, 23, 27, (80, 30, 180)),
    Class.BUS: (13, 257, 5, 5, 3, 16, 28, (100, 80, 250)),
    Class.CONSTRUCTION_VEHICLE: (20, 259, 5, 5, 5, 18, 5, (0, 0, 255)),
    Class.TRAILER: (20, 259, 5, 5, 9, 22, 30, (0, 0, 255)),
    Class.PERSON: (30, 254, 6, 6, 7, 2, 24, (255, 30, 30)),
    Class.BICYCLIST: (31, 253, 7, IGNORED, 2, 14, 25, (255, 40, 200)),
    Class.MOTORCYCLIST: (32, 255, 8, IGNORED, 6, 21, 25, (150, 30, 90)),
    Class.ROAD: (40, 40, 9, 7, 11, 24, 7, (255, 0, 255)),
    Class.PARKING: (44, 44, 10, 8, 11, 24, 9, (255, 150, 255)),
    Class.SIDEWALK: (48, 48, 11, 9, 13, 26, 8, (75, 0, 75)),
    Class.OTHER_GROUND: (49, 49, 12, 10, 12, 25, 6, (175, 0, 75)),
    Class.BUILDING: (50, 50, 13, 11, 15, 28, 11, (255, 200, 0)),
    Class.FENCE: (51, 51, 14, 12, 15, 28, 13, (255, 120, 50)),
    Class.VEGETATION: (70, 70, 15, 13, 16, 30, 21, (0, 175, 0)),
    Class.TRUNK: (71, 71, 16, IGNORED, 16, 30, 21, (135, 60, 0)),
    Class.TERRAIN: (72, 72, 17, 14, 14, 27, 22, (150, 240, 80)),
    Class.POLE: (80, 80, 18, 15, 15, 28, 17, (255, 240, 150)),
    Class.TRAFFIC_SIGN: (81, 81, 19, 16, 15, 28, 20, (255, 0, 0)),
    Class.TRAFFIC_LIGHT: (99, 99, IGNORED, 18, 15, 28, 19, (50, 255, 255)),
    Class.BARRIER: (99, 99, IGNORED, 18, 1, 9, 4, (255, 120, 50)),
    Class.CONE: (99, 99, IGNORED, 18, 8, 12, 4, (255, 240, 150)),
    Class.OTHER_STRUCTURE: (52, 52, IGNORED, 17, 15, 28, 15, (255, 150, 0)),
    Class.OTHER_OBJECT: (99, 99, IGNORED, 18, 0, 29, 4, (50, 255, 255)),
    Class.EGO: (1, 1, IGNORED, IGNORED, 0, 31, 1, (0, 0, 0)),
    Class.SKY: (0, 0, IGNORED, IGNORED, 17, 0, 23, (70, 130, 180)),
}
_COLUMNS = ("semantickitti_raw", "semantickitti_moving", "semantickitti", "sscbench", "occ3d",
            "lidarseg", "cityscapes")  # fmt: skip

# Which class keeps a voxel that several claim equally: the rarer and smaller thing.
_PRIORITY = (
    *GROUND[::-1], Class.VEGETATION, Class.BUILDING, Class.OTHER_STRUCTURE, Class.FENCE,
    Class.BARRIER, Class.OTHER_OBJECT, Class.TRUNK, Class.CONE, Class.TRAFFIC_LIGHT,
    Class.TRAFFIC_SIGN, Class.POLE, Class.TRAILER, Class.CONSTRUCTION_VEHICLE, Class.BUS,
    Class.TRUCK, Class.CAR, Class.MOTORCYCLE, Class.BICYCLE, Class.MOTORCYCLIST,
    Class.BICYCLIST, Class.PERSON,
)  # fmt: skip


def lookup(dataset: str) -> npt.NDArray[np.uint16]:
    """Table `[256]` uint16 from internal ids to a data set's.

    For voxels of SemanticKITTI's train ids, ids without a train class are `IGNORED` and free is 0,
    which is what its voxel rule makes of them.

    Args:
        dataset: "semantickitti_raw", "semantickitti_moving" (raw ids of moving objects),
            "semantickitti" (train), "sscbench", "occ3d", "lidarseg" or "cityscapes".
    """
    table = np.full(256, IGNORED, dtype=np.uint16)
    column = _COLUMNS.index(dataset)
    for class_id, row in _TABLE.items():
        table[class_id] = row[column]
    return table


def palette() -> npt.NDArray[np.uint8]:
    """Colours `[256, 3]` uint8 RGB of the internal ids; grey where there is none."""
    table = np.full((256, 3), 128, dtype=np.uint8)
    for class_id, row in _TABLE.items():
        table[class_id] = row[-1]
    return table


def priority() -> npt.NDArray[np.int64]:
    """Rank `[256]` int64 of every class in a tie for a voxel; higher wins, free is 0."""
    rank = np.zeros(256, dtype=np.int64)
    rank[list(_PRIORITY)] = np.arange(1, len(_PRIORITY) + 1)
    return rank
