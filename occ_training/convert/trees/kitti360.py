"""KITTI-360 and SSCBench-KITTI-360 trees."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import Matrix
from occ_training.convert.kitti360 import MATCH_LIST
from occ_training.convert.semantickitti_voxels import SSCBENCH_SCHEME
from occ_training.convert.trees.files import (
    local_time,
    numbers,
    write_array,
    write_lines,
    write_png,
)
from occ_training.convert.trees.kitti import RawVoxels, write_training_labels, write_voxels


@dataclass(frozen=True, eq=False)
class Kitti360Frame:
    """One frame of a drive.

    Attributes:
        stamp_ns: Time of all sensors.
        images: By folder: image_00 and image_01 rectified, image_02 and image_03 fisheyes.
        sweep: `[n, 4]` x, y, z, reflectance, not motion-corrected.
        T_world_pose: Pose of the data set's pose frame; None where there is none.
        T_world_camera: Pose of the rectified camera 00; None where there is none.
        semantic: `[H, W]` uint8 label ids of image_00.
        instance: `[H, W]` uint16, label * 1000 + instance.
        voxels: For SSCBench.
    """

    stamp_ns: int
    images: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    sweep: npt.NDArray[np.float32] | None = None
    T_world_pose: Matrix | None = None
    T_world_camera: Matrix | None = None
    semantic: npt.NDArray[np.uint8] | None = None
    instance: npt.NDArray[np.uint16] | None = None
    voxels: RawVoxels | None = None


class Kitti360Writer:
    """Writes one drive of KITTI-360; `close` writes times and poses."""

    def __init__(self, root: Path, drive: str, calibration: Path) -> None:
        """Start a drive.

        Args:
            root: Folder of the data set.
            drive: `2013_05_28_drive_NNNN_sync`.
            calibration: Folder whose files are copied, byte for byte.
        """
        self._root, self._drive = root, drive
        self._images = root / "data_2d_raw" / drive
        self._stamps: list[int] = []
        self._poses: list[str] = []
        self._cameras: list[str] = []
        self._folders: set[str] = set()
        copy_calibration(calibration, root)

    def add(self, frame: Kitti360Frame) -> None:
        """Write the next frame."""
        number = len(self._stamps)
        name = f"{number:010d}"
        for folder, pixels in frame.images.items():
            kind = "data_rect" if folder in ("image_00", "image_01") else "data_rgb"
            write_png(self._images / folder / kind / f"{name}.png", pixels)
            self._folders.add(folder)
        if frame.sweep is not None:
            write_array(self._scans / "data" / f"{name}.bin", frame.sweep, "<f4")
        for kind, labels in (("semantic", frame.semantic), ("instance", frame.instance)):
            if labels is not None:
                folder = self._root / "data_2d_semantics/train" / self._drive / "image_00" / kind
                write_png(folder / f"{name}.png", labels)
        if frame.T_world_pose is not None:
            self._poses.append(f"{number} {numbers(frame.T_world_pose[:3])}")
        if frame.T_world_camera is not None:
            self._cameras.append(f"{number} {numbers(frame.T_world_camera)}")
        self._stamps.append(frame.stamp_ns)

    @property
    def _scans(self) -> Path:
        return self._root / "data_3d_raw" / self._drive / "velodyne_points"

    def close(self) -> None:
        """Write what there is once per drive."""
        times = [local_time(stamp_ns) for stamp_ns in self._stamps]
        for folder in self._folders:
            write_lines(self._images / folder / "timestamps.txt", times)
        if self._scans.is_dir():
            write_lines(self._scans / "timestamps.txt", times)
        poses = self._root / "data_poses" / self._drive
        write_lines(poses / "poses.txt", self._poses)
        write_lines(poses / "cam0_to_world.txt", self._cameras)


class SscbenchWriter:
    """Writes one drive of SSCBench: renumbered images, voxels, and the list of matches.

    The real set comes without times; they lie beside the images as one copies them from KITTI-360.
    """

    def __init__(self, root: Path, drive: str, calibration: Path) -> None:
        """Start a drive; see `Kitti360Writer`."""
        self._root, self._drive = root, drive
        self._images = root / "data_2d_raw" / drive
        self._matches: list[str] = []
        self._stamps: list[int] = []
        self._poses: list[str] = []
        copy_calibration(calibration, root)

    def add(self, frame: Kitti360Frame) -> None:
        """Write the next frame; frames without a pose are not part of SSCBench."""
        original = len(self._stamps)
        self._stamps.append(frame.stamp_ns)
        if frame.T_world_pose is None:
            return
        name = f"{len(self._matches):06d}"
        self._matches.append(f"{self._drive} {original:010d}.png {name}.png")
        self._poses.append(f"{original} {numbers(frame.T_world_pose[:3])}")
        for folder in ("image_00", "image_01"):
            if folder in frame.images:
                write_png(self._images / folder / "data_rect" / f"{name}.png", frame.images[folder])
        if frame.voxels is not None:
            write_voxels(self._images / "voxels", name, frame.voxels)
            labels = self._root / "preprocess" / "labels" / self._drive
            write_training_labels(labels, name, frame.voxels, SSCBENCH_SCHEME)

    def close(self) -> None:
        """Write what there is once per drive."""
        times = [local_time(stamp_ns) for stamp_ns in self._stamps]
        for folder in ("image_00", "image_01"):
            if (self._images / folder).is_dir():
                write_lines(self._images / folder / "timestamps.txt", times)
        write_lines(self._root / "data_poses" / self._drive / "poses.txt", self._poses)
        path = self._root / MATCH_LIST
        known = path.read_text("utf-8").splitlines() if path.is_file() else []
        write_lines(path, [*known, *self._matches])


def copy_calibration(source: Path, root: Path) -> None:
    """Put the calibration files in their place, byte for byte."""
    target = root / "calibration"
    if source.resolve() != target.resolve():
        shutil.copytree(source, target, dirs_exist_ok=True)
