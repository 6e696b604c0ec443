"""SemanticKITTI's label files: raw ids to training ids, packed bits, coarser scales."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import OccError

IGNORE = 255
GRID_SHAPE = (256, 256, 32)

# Voxels per training id in the training sequences; the usual source of class weights.
CLASS_VOXELS = (
    5.41773033e9, 1.57835390e7, 1.25136e5, 1.18809e5, 6.46799e5, 8.21951e5, 2.62978e5, 2.83696e5,
    2.04750e5, 6.16887030e7, 4.50296100e6, 4.48836500e7, 2.26992300e6, 5.68402180e7, 1.57196520e7,
    1.58442623e8, 2.06162300e6, 3.69705220e7, 1.15198800e6, 3.34146e5,
)  # fmt: skip

# Training id -> raw ids; moving objects join their class. From semantic-kitti.yaml.
_RAW_IDS: Mapping[int, tuple[int, ...]] = {
    0: (0, 1, 52, 99),
    1: (10, 252),
    2: (11,),
    3: (15,),
    4: (18, 258),
    5: (13, 16, 20, 256, 257, 259),
    6: (30, 254),
    7: (31, 253),
    8: (32, 255),
    9: (40, 60),
    10: (44,),
    11: (48,),
    12: (49,),
    13: (50,),
    14: (51,),
    15: (70,),
    16: (71,),
    17: (72,),
    18: (80,),
    19: (81,),
}


def point_table() -> npt.NDArray[np.uint8]:
    """Table `[65536]` raw point id -> training id; 0 = unlabelled, also for unknown ids."""
    table = np.zeros(65536, dtype=np.uint8)
    for training_id, raw_ids in _RAW_IDS.items():
        table[list(raw_ids)] = training_id
    return table


def voxel_table() -> npt.NDArray[np.uint8]:
    """Table `[65536]` raw voxel id -> training id: only raw 0 is empty, the unlabelled is 255."""
    table = point_table()
    table[1:][table[1:] == 0] = IGNORE
    return table


def unpack_bits(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Voxel flags of a `.bin`, `.invalid` or `.occluded` file, `[256, 256, 32]`.

    Args:
        packed: The file's bytes; the first voxel is the most significant bit.

    Raises:
        OccError: The file has another size than the grid.
    """
    voxels = int(np.prod(GRID_SHAPE))
    if packed.size * 8 != voxels:
        raise OccError(f"packed voxel file has {packed.size} bytes instead of {voxels // 8}")
    return np.unpackbits(packed).reshape(GRID_SHAPE).astype(np.bool_)


def voxel_labels(
    raw: npt.NDArray[np.uint16], invalid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Training labels of a voxel grid.

    Args:
        raw: `[256, 256, 32]` raw ids of a `.label` file.
        invalid: Voxels that no scan ever saw.

    Returns:
        `[256, 256, 32]` ids 0..19, 255 = does not count.
    """
    labels = voxel_table()[raw]
    labels[invalid] = IGNORE
    return labels


def coarser_labels(
    labels: npt.NDArray[np.uint8], factor: int, classes: int = 20
) -> npt.NDArray[np.uint8]:
    """Labels of blocks of `factor`^3 voxels.

    A block that is empty or ignored by more than 95 % takes the more frequent of the two;
    otherwise its most frequent class, empty not among them, the smallest id where several tie.

    Args:
        labels: `[X, Y, Z]` ids, 255 = ignore.
        factor: Voxels per block along each axis.
        classes: Number of classes.
    """
    x, y, z = (size // factor for size in labels.shape)
    blocks = labels.reshape(x, factor, y, factor, z, factor).transpose(0, 2, 4, 1, 3, 5)
    blocks = blocks.reshape(x, y, z, factor**3)
    empty, ignored = (blocks == 0).sum(axis=-1), (blocks == IGNORE).sum(axis=-1)
    counts = np.stack([(blocks == c).sum(axis=-1) for c in range(1, classes)])
    filled = counts.argmax(axis=0) + 1
    hollow = np.where(empty > ignored, 0, IGNORE)
    return np.where(empty + ignored > 0.95 * factor**3, hollow, filled).astype(np.uint8)
