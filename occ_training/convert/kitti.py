"""KITTI odometry and SemanticKITTI: sequences of stereo images, sweeps, poses and voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from occ_perception.core.labels import load_label_map
from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.convert import messages
from occ_training.convert.content import (
    MAP,
    ODOM,
    T_BASE_VELODYNE,
    TRUE_LABEL_MAP,
    TRUE_POINTS,
    TRUE_VOXELS,
    Content,
    Link,
    Options,
    add_images,
    add_pose,
    rigid,
    stereo_projections,
)
from occ_training.convert.files import (
    ascending,
    check_numbers,
    entry,
    nanoseconds,
    note_gaps,
    numbered,
    read_stamps,
    read_table,
    read_text,
)
from occ_training.convert.kitti_rig import check_group, image_size, sensor_links
from occ_training.convert.lidar import labelled_sweep, sweep
from occ_training.convert.messages import CameraModel, Outgoing, VoxelTruth
from occ_training.convert.report import DatasetError, Report
from occ_training.convert.semantickitti_voxels import (
    GRID,
    SEMANTICKITTI_SCHEME,
    VoxelScheme,
    read_preprocessed,
    read_voxels,
)
from occ_training.data.semantickitti_labels import IGNORE

SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(f"{i:02d}" for i in range(11, 22)),
}
# Times are relative to the first frame. They count from noon (UTC) of the day of the recording;
# the days of 11 to 21 are not published, they get the day of the first sequence.
DAYS = {"03": "2011-09-26"} | {f"{i:02d}": "2011-09-30" for i in range(4, 11)}
OTHER_DAY = "2011-10-03"

VOXEL_STEP = 5  # frames


class Pair(NamedTuple):
    """Two image folders that make a stereo pair."""

    folders: tuple[str, str]
    matrices: tuple[str, str]
    topic: str
    frame: str


PAIRS = (
    Pair(("image_0", "image_1"), ("P0", "P1"), "/camera", "camera"),
    Pair(("image_2", "image_3"), ("P2", "P3"), "/camera_color", "camera_color"),
)
SIDES = ("left", "right")


@dataclass(frozen=True)
class KittiSequence:
    """One sequence.

    Attributes:
        root: Folder with sequences/ and poses/.
        number: Two digits.
        semantic: Also SemanticKITTI's labels, and its poses, with which the labels were made.
        epoch_ns: Time of the first frame, nanoseconds; None = noon of the day of the recording.
    """

    root: Path
    number: str
    semantic: bool
    epoch_ns: int | None = None

    @property
    def name(self) -> str:
        """Name of its bag."""
        return f"{'semantickitti' if self.semantic else 'kitti'}_{self.number}"

    @property
    def split(self) -> str:
        """Published split."""
        return next((name for name, numbers in SPLITS.items() if self.number in numbers), "")

    @property
    def folder(self) -> Path:
        """Folder of the sequence."""
        return self.root / "sequences" / self.number

    def read(self, options: Options, report: Report) -> Content:
        """Everything but the images and sweeps, which events read.

        Raises:
            DatasetError: There are no times or no calibration.
        """
        calibration = read_table(self.folder / "calib.txt")
        content = Content(links=sensor_links(calibration, self.folder / "calib.txt"))
        stamps_ns = self._stamps(report)
        for pair in PAIRS:
            self._add_pair(content, pair, calibration, stamps_ns, options, report)
        self._add_sweeps(content, stamps_ns, report)
        self._add_poses(content, calibration, stamps_ns, report)
        if self.semantic:
            self._add_voxels(content, stamps_ns, report)
        return content

    def _stamps(self, report: Report) -> dict[int, int]:
        path = self.folder / "times.txt"
        epoch_ns = self.epoch_ns
        if epoch_ns is None:
            day = datetime.fromisoformat(f"{DAYS.get(self.number, OTHER_DAY)}T12:00:00")
            epoch_ns = int(day.replace(tzinfo=UTC).timestamp()) * 10**9
        since_first_ns = ascending(read_stamps(path, nanoseconds), path, report)
        return {frame: epoch_ns + ns for frame, ns in since_first_ns.items()}

    def _add_pair(
        self,
        content: Content,
        pair: Pair,
        calibration: Mapping[str, Matrix],
        stamps_ns: Mapping[int, int],
        options: Options,
        report: Report,
    ) -> None:
        files = [numbered(self.folder / name, ".png") for name in pair.folders]
        if not any(files):
            report.lacks(f"{' and '.join(pair.folders)} ({pair.topic})")
            return
        path = self.folder / "calib.txt"
        published = [entry(calibration, name, (3, 4), path) for name in pair.matrices]
        first = next(iter(next(f for f in files if f).values()))
        width, height = image_size(first, published[0], path)
        check_group(calibration, width, published[0][0, 0], path)
        rig = zip(SIDES, pair.folders, files, stereo_projections(*published), strict=True)
        for side, folder, images, P in rig:
            if not images:
                report.lacks(f"{folder} ({pair.topic}/{side})")
                continue
            camera = CameraModel(
                f"{pair.topic}/{side}/image_rect", f"{pair.frame}_{side}_optical", width, height, P
            )
            note_gaps(report, self.folder / folder, images, stamps_ns)
            add_images(content, self.folder / folder, images, stamps_ns, camera, options, report)

    def _add_sweeps(self, content: Content, stamps_ns: Mapping[int, int], report: Report) -> None:
        files = numbered(self.folder / "velodyne", ".bin")
        labels = numbered(self.folder / "labels", ".label") if self.semantic else {}
        if not files:
            report.lacks("velodyne (/velodyne/points)")
            return
        if self.semantic and not labels:
            report.lacks(f"labels of points ({TRUE_POINTS})")
        note_gaps(report, self.folder / "velodyne", files, stamps_ns)
        for frame in files.keys() & stamps_ns.keys():
            stamp_ns = stamps_ns[frame]
            content.at(stamp_ns, sweep, files[frame], stamp_ns)
            if frame in labels:
                content.at(stamp_ns, labelled_sweep, files[frame], labels[frame], stamp_ns)

    def _add_poses(
        self,
        content: Content,
        calibration: Mapping[str, Matrix],
        stamps_ns: Mapping[int, int],
        report: Report,
    ) -> None:
        """Poses of camera 0 relative to the first one, as poses of the base."""
        path = self.root / "poses" / f"{self.number}.txt"
        if self.semantic:
            path = self.folder / "poses.txt"
        if not path.is_file():
            report.lacks(f"poses ({path.name}: no /tf)")
            return
        poses = read_poses(path, report)
        note_gaps(report, path, poses, stamps_ns)
        T_base_camera = T_BASE_VELODYNE @ inverse(rigid(calibration["Tr"].reshape(3, 4)))
        content.links.append(Link(MAP, ODOM, np.eye(4)))
        for frame in poses.keys() & stamps_ns.keys():
            T_odom_base = T_base_camera @ poses[frame] @ inverse(T_base_camera)
            add_pose(content, T_odom_base, stamps_ns[frame])

    def _add_voxels(self, content: Content, stamps_ns: Mapping[int, int], report: Report) -> None:
        raw = numbered(self.folder / "voxels", ".label")
        # Beside dataset/ as the usual scripts write them, or inside.
        folders = (self.root.parent, self.root)
        ready = {k: v for f in folders for k, v in preprocessed(f, "labels", self.number).items()}
        if not raw and not ready:
            report.lacks(f"voxels ({TRUE_VOXELS})")
            return
        expected = [frame for frame in stamps_ns if frame % VOXEL_STEP == 0]
        note_gaps(report, self.folder / "voxels", raw | ready, expected)
        add_voxels(content, raw, ready, stamps_ns, SEMANTICKITTI_SCHEME)


def find_sequences(
    source: Path, *, semantic: bool, epoch_ns: int | None = None
) -> list[KittiSequence]:
    """The sequences below a folder `dataset` or `sequences`' parent.

    Raises:
        DatasetError: There is none.
    """
    roots = [p for p in (source, source / "dataset", source.parent) if (p / "sequences").is_dir()]
    folders = sorted((roots[0] / "sequences").iterdir()) if roots else []
    numbers = [p.name for p in folders if p.is_dir() and p.name.isdecimal()]
    if not numbers:
        raise DatasetError(
            f"{source} has no KITTI sequence: give the folder that holds sequences/00 and so on"
        )
    return [KittiSequence(roots[0], number, semantic, epoch_ns) for number in numbers]


def read_poses(path: Path, report: Report) -> dict[int, Matrix]:
    """Poses `[4, 4]` by line number from 0; damaged lines are reported and left out.

    Raises:
        DatasetError: The file cannot be read.
    """
    poses: dict[int, Matrix] = {}
    for number, line in enumerate(read_text(path).rstrip().splitlines()):
        with report.tolerating():
            numbers = check_numbers(path, line.split(), 12, number + 1)
            poses[number] = rigid(np.reshape(numbers, (3, 4)))
    return poses


def preprocessed(root: Path, *folders: str) -> dict[int, Path]:
    """Label files `NNNNNN_1_1.npy` by frame."""
    folder = root.joinpath(*folders)
    files = sorted(folder.glob("*_1_1.npy")) if folder.is_dir() else []
    return {int(p.name[:6]): p for p in files if p.name[:6].isdecimal()}


def add_voxels(
    content: Content,
    raw: Mapping[int, Path],
    ready: Mapping[int, Path],
    stamps_ns: Mapping[int, int],
    scheme: VoxelScheme,
) -> None:
    """Voxel truth at its frames, of the published files or else of the preprocessed ones."""
    first_ns = min(stamps_ns.values(), default=0)
    labels = load_label_map(scheme.label_map)
    content.latched.append(messages.label_map(TRUE_LABEL_MAP, labels, first_ns))
    for frame in (raw.keys() | ready.keys()) & stamps_ns.keys():
        path = raw.get(frame, ready.get(frame))
        content.at(stamps_ns[frame], voxel_truth, path, scheme, stamps_ns[frame])


def voxel_truth(path: Path, scheme: VoxelScheme, stamp_ns: int) -> list[Outgoing]:
    """A VoxelGrid in the velodyne's frame.

    Raises:
        DatasetError: A file is damaged.
    """
    read = read_preprocessed if path.suffix == ".npy" else read_voxels
    labels = read(path, scheme)
    truth = VoxelTruth(GRID, labels != IGNORE, labels, scheme.label_map)
    return [messages.voxels(TRUE_VOXELS, truth, stamp_ns)]
