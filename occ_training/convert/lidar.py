"""Velodyne files to point clouds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_training.convert import messages
from occ_training.convert.content import TRUE_POINTS, VELODYNE
from occ_training.convert.files import read_array
from occ_training.convert.messages import Outgoing
from occ_training.convert.semantickitti_voxels import check_raw_ids

SWEEPS = "/velodyne/points"


def read_sweep(path: Path) -> npt.NDArray[np.float32]:
    """`[n, 4]` x, y, z in metres in the velodyne's frame, and reflectance 0..1.

    Raises:
        DatasetError: The file is missing or has no whole number of points.
    """
    return read_array(path, "V16").view("<f4").reshape(-1, 4)


def sweep(path: Path, stamp_ns: int) -> list[Outgoing]:
    """A PointCloud2 of a velodyne file.

    Raises:
        DatasetError: The file is damaged.
    """
    columns = dict(zip(("x", "y", "z", "intensity"), read_sweep(path).T, strict=True))
    return [messages.points(SWEEPS, VELODYNE, stamp_ns, columns)]


def labelled_sweep(path: Path, label_path: Path, stamp_ns: int) -> list[Outgoing]:
    """A sweep with SemanticKITTI's raw class and instance of each point.

    Raises:
        DatasetError: A file is damaged, or they are of different length.
    """
    xyz = read_sweep(path)[:, :3]
    raw = read_array(label_path, "<u4", len(xyz))
    check_raw_ids(raw & 0xFFFF, label_path)
    columns = dict(zip("xyz", xyz.T, strict=True))
    columns |= {"label": (raw & 0xFFFF).astype("<u2"), "instance": (raw >> 16).astype("<u2")}
    return [messages.points(TRUE_POINTS, VELODYNE, stamp_ns, columns)]
