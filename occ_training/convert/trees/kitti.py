"""A KITTI odometry tree with SemanticKITTI's labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import Matrix
from occ_training.convert.semantickitti_voxels import (
    SEMANTICKITTI_SCHEME,
    VoxelScheme,
    training_voxels,
)
from occ_training.convert.trees.files import (
    numbers,
    write_array,
    write_bits,
    write_lines,
    write_png,
    write_table,
)
from occ_training.data.semantickitti_labels import coarser_labels

Mask = npt.NDArray[np.bool_]
REDUCED = (2, 8)


@dataclass(frozen=True, eq=False)
class RawVoxels:
    """The four voxel files of a frame.

    Attributes:
        labels: `[256, 256, 32]` uint16 raw ids, 0 = empty.
        invalid: Never seen in the whole drive.
        occluded: Not seen from this place.
        scan: Holds a point of this single sweep.
    """

    labels: npt.NDArray[np.uint16]
    invalid: Mask
    occluded: Mask
    scan: Mask


@dataclass(frozen=True, eq=False)
class KittiFrame:
    """One frame of a sequence.

    Attributes:
        time_ns: Since the first frame, nanoseconds.
        T_first_camera: Pose of camera 0 relative to the first one.
        images: By folder, image_0 to image_3: `[H, W]` grey or `[H, W, 3]` RGB, uint8.
        sweep: `[n, 4]` x, y, z, reflectance in the velodyne's frame, motion-corrected.
        point_labels: `[n]` uint32, class in the low and instance in the high half.
        voxels: On every fifth frame.
    """

    time_ns: int
    T_first_camera: Matrix
    images: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    sweep: npt.NDArray[np.float32] | None = None
    point_labels: npt.NDArray[np.uint32] | None = None
    voxels: RawVoxels | None = None


class KittiSequenceWriter:
    """Writes `dataset/` frame by frame; `close` writes times and poses."""

    def __init__(self, root: Path, sequence: str, calibration: Mapping[str, npt.ArrayLike]) -> None:
        """Start a sequence.

        Args:
            root: Becomes the folder that holds dataset/.
            sequence: Two digits.
            calibration: P0 to P3 and Tr, `[3, 4]` each.
        """
        self._root = root / "dataset"
        self._folder = self._root / "sequences" / sequence
        self._sequence = sequence
        self._labels = root / "labels" / sequence
        self._times: list[str] = []
        self._poses: list[str] = []
        write_table(self._folder / "calib.txt", calibration)

    def add(self, frame: KittiFrame) -> None:
        """Write the next frame."""
        number = f"{len(self._times):06d}"
        for name, pixels in frame.images.items():
            write_png(self._folder / name / f"{number}.png", pixels)
        if frame.sweep is not None:
            write_array(self._folder / "velodyne" / f"{number}.bin", frame.sweep, "<f4")
        if frame.point_labels is not None:
            write_array(self._folder / "labels" / f"{number}.label", frame.point_labels, "<u4")
        if frame.voxels is not None:
            write_voxels(self._folder / "voxels", number, frame.voxels)
            write_training_labels(self._labels, number, frame.voxels, SEMANTICKITTI_SCHEME)
        self._times.append(f"{frame.time_ns // 10**9}.{frame.time_ns % 10**9:09d}")
        self._poses.append(numbers(frame.T_first_camera[:3]))

    def close(self) -> None:
        """Write what there is once per sequence."""
        write_lines(self._folder / "times.txt", self._times)
        write_lines(self._folder / "poses.txt", self._poses)
        write_lines(self._root / "poses" / f"{self._sequence}.txt", self._poses)


def write_voxels(folder: Path, number: str, voxels: RawVoxels) -> None:
    """The four files of a frame, 262 144 and 4 194 304 bytes."""
    write_array(folder / f"{number}.label", voxels.labels, "<u2")
    for suffix, mask in (
        ("invalid", voxels.invalid),
        ("occluded", voxels.occluded),
        ("bin", voxels.scan),
    ):
        write_bits(folder / f"{number}.{suffix}", mask)


def write_training_labels(
    folder: Path, number: str, voxels: RawVoxels, scheme: VoxelScheme
) -> None:
    """`_1_1.npy` (float32, as the usual script writes it), `_1_2.npy` and `_1_8.npy` (uint8)."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = training_voxels(voxels.labels, voxels.invalid, scheme)
    np.save(folder / f"{number}_1_1.npy", labels.astype(np.float32))
    for factor in REDUCED:
        np.save(folder / f"{number}_1_{factor}.npy", coarser_labels(labels, factor))
