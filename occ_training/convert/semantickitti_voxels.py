"""Voxel files of SemanticKITTI and SSCBench: from bytes on disk to checked training ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec
from occ_training.convert.files import COPY_AGAIN, read_array
from occ_training.convert.report import DatasetError
from occ_training.data.semantickitti_labels import GRID_SHAPE, IGNORE, unpack_bits, voxel_table

Ids = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

GRID = GridSpec((0.0, -25.6, -2.0), (0.2, 0.2, 0.2), GRID_SHAPE, "velodyne")

# Raw id -> SSCBench-KITTI-360's training id, for every raw id that there is. It has no bicyclist,
# motorcyclist and trunk; other structures and objects are classes of their own.
# fmt: off
SSCBENCH: dict[int, int] = {
    0: 0, 1: IGNORE, 10: 1, 11: 2, 13: 5, 15: 3, 16: 5, 18: 4, 20: 5, 30: 6, 31: IGNORE, 32: IGNORE,
    40: 7, 44: 8, 48: 9, 49: 10, 50: 11, 51: 12, 52: 17, 60: 7, 70: 13, 71: IGNORE, 72: 14, 80: 15,
    81: 16, 99: 18, 252: 1, 253: IGNORE, 254: 6, 255: IGNORE, 256: 5, 257: 5, 258: 4, 259: 5,
}
# fmt: on


class VoxelScheme(NamedTuple):
    """How a data set's raw voxel ids become training ids.

    Attributes:
        label_map: Name of the label map of the training ids.
        table: Makes the table `[65536]` raw id -> training id.
        label_beats_invalid: A labelled voxel counts even where `.invalid` says "never seen".
    """

    label_map: str
    table: Callable[[], Ids]
    label_beats_invalid: bool


def sscbench_table() -> Ids:
    """Table `[65536]` raw voxel id -> training id."""
    table = np.full(1 << 16, IGNORE, np.uint8)
    table[list(SSCBENCH)] = list(SSCBENCH.values())
    return table


SEMANTICKITTI_SCHEME = VoxelScheme("semantickitti", voxel_table, False)
SSCBENCH_SCHEME = VoxelScheme("sscbench_kitti360", sscbench_table, True)


def training_voxels(raw: npt.NDArray[np.uint16], invalid: Mask, scheme: VoxelScheme) -> Ids:
    """Training ids of raw ones; what is ignored or was never seen is unknown (255).

    Args:
        raw: `[X, Y, Z]` raw ids, 0 = empty.
        invalid: Voxels that no sweep ever saw.
        scheme: Of the data set.
    """
    hidden = invalid & (raw == 0) if scheme.label_beats_invalid else invalid
    return np.where(hidden, np.uint8(IGNORE), scheme.table()[raw])


def check_raw_ids(raw: npt.NDArray[np.unsignedinteger], path: Path) -> None:
    """Refuse a file with ids that SemanticKITTI does not have.

    Raises:
        DatasetError: There is such an id.
    """
    counts = np.bincount(raw.ravel())
    strange = sorted(set(np.flatnonzero(counts).tolist()) - set(SSCBENCH))
    if strange:
        raise DatasetError(f"{path} has unknown label ids {strange[:5]}: {COPY_AGAIN}")


def read_voxels(path: Path, scheme: VoxelScheme) -> Ids:
    """Training ids `[256, 256, 32]` of `NNNNNN.label` and the `NNNNNN.invalid` beside it.

    Raises:
        DatasetError: A file is missing, has the wrong size or an unknown id.
    """
    raw = read_array(path, "<u2", GRID.count).reshape(GRID.shape)
    check_raw_ids(raw, path)
    invalid = unpack_bits(read_array(path.with_suffix(".invalid"), "u1", GRID.count // 8))
    return training_voxels(raw, invalid, scheme)


def read_preprocessed(path: Path, scheme: VoxelScheme) -> Ids:
    """Training ids `[256, 256, 32]` of a `NNNNNN_1_1.npy`, float32 or uint8.

    Raises:
        DatasetError: No array of this shape, or an unknown id.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path} is no array of numbers ({error}): {COPY_AGAIN}") from error
    if values.shape != GRID.shape:
        raise DatasetError(f"{path} has shape {values.shape}, not {GRID.shape}: {COPY_AGAIN}")
    strange = set(np.unique(values).tolist()) - set(scheme.table().tolist())
    if strange:
        raise DatasetError(f"{path} has unknown label ids {sorted(strange)[:5]}: {COPY_AGAIN}")
    return values.astype(np.uint8)
