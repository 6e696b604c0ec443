"""Predictions in the files of SemanticKITTI's benchmark, in and out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import ConfigError, PredictionError
from occ_perception.eval.protocols import Protocol

Labels = npt.NDArray[np.uint8]


def prediction_file(root: Path, sequence: str, frame: int) -> Path:
    """`root/sequences/SS/predictions/FFFFFF.label`."""
    return root / "sequences" / sequence / "predictions" / f"{frame:06d}.label"


def write_prediction(path: Path, labels: Labels, protocol: Protocol) -> None:
    """Write one frame: raw ids, uint16, C order of [x, y, z].

    Raises:
        ConfigError: The protocol has no submissions.
        PredictionError: An id is no class.
    """
    table = np.array(_raw_ids(protocol), "<u2")
    if labels.max(initial=0) >= len(table):
        raise PredictionError(f"voxel id {labels.max()} is not one of the {len(table)} classes")
    path.parent.mkdir(parents=True, exist_ok=True)
    table[labels].tofile(path)


def read_prediction(path: Path, shape: tuple[int, int, int], protocol: Protocol) -> Labels:
    """Read one frame as class ids.

    Raises:
        PredictionError: Another size than the grid, or ids that no class has.
    """
    raw = np.fromfile(path, "<u2")
    if raw.size != np.prod(shape):
        raise PredictionError(f"{path} has {raw.size} voxels, the grid has {np.prod(shape)}")
    table = np.full(65536, -1, np.int16)
    table[list(_raw_ids(protocol))] = np.arange(len(protocol.raw_ids))
    labels = table[raw]
    if labels.min() < 0:
        strangers = np.unique(raw[labels < 0])[:5].tolist()
        raise PredictionError(f"{path} holds the ids {strangers}, which are no classes")
    return labels.astype(np.uint8).reshape(shape)


def find_predictions(folder: Path) -> Mapping[int, Path]:
    """Files of one sequence by frame number.

    Args:
        folder: `.../sequences/SS/predictions`, or a root with one sequence in it.

    Raises:
        ConfigError: No files, or several sequences.
    """
    folders = {path.parent for path in folder.rglob("*.label")}
    if len(folders) != 1:
        found = ", ".join(sorted(map(str, folders))) or "no .label files"
        raise ConfigError(f"{folder} must hold the predictions of one sequence; found {found}")
    files = {int(p.stem): p for p in folders.pop().glob("*.label") if p.stem.isdecimal()}
    return dict(sorted(files.items()))


def _raw_ids(protocol: Protocol) -> tuple[int, ...]:
    if not protocol.raw_ids:
        raise ConfigError(f"{protocol.name} has no format for submissions")
    return protocol.raw_ids
