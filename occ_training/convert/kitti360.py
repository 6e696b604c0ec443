"""KITTI-360 and SSCBench-KITTI-360: stereo and fisheye images, sweeps, poses with gaps, labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.convert.content import (
    MAP,
    ODOM,
    T_BASE_VELODYNE,
    TRUE_VOXELS,
    VELODYNE,
    Content,
    Link,
    Options,
    add_images,
    add_pose,
    label_image,
    rigid,
    stereo_projections,
)
from occ_training.convert.files import (
    check_numbers,
    note_gaps,
    numbered,
    ranges,
    read_text,
)
from occ_training.convert.fisheye_fit import equidistant
from occ_training.convert.kitti import VOXEL_STEP, add_voxels, preprocessed
from occ_training.convert.kitti360_rig import LEFT, Calibration
from occ_training.convert.kitti_raw import read_times
from occ_training.convert.lidar import SWEEPS, sweep
from occ_training.convert.messages import TEXT, CameraModel, Outgoing
from occ_training.convert.report import DatasetError, Report
from occ_training.convert.semantickitti_voxels import SSCBENCH_SCHEME

DRIVE = re.compile(r"\d{4}_\d{2}_\d{2}_drive_(\d{4})_sync")
MATCH_LIST = "kitti_360_match.txt"
SSCBENCH_SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("0000", "0002", "0003", "0004", "0005", "0007", "0010"),
    "val": ("0006",),
    "test": ("0009",),
}
FISHEYES = {"02": "left", "03": "right"}
SEMANTIC = "/ground_truth/perspective/left/{}"
LABEL_IMAGES = {"semantic": "semantic", "instance": "instance"}


@dataclass(frozen=True)
class Kitti360Drive:
    """One drive of KITTI-360, or its part in SSCBench.

    Attributes:
        root: Folder with calibration/, data_2d_raw/ and so on.
        drive: `2013_05_28_drive_NNNN_sync`.
        frames: SSCBench's number -> KITTI-360's frame; None for KITTI-360 itself.
    """

    root: Path
    drive: str
    frames: Mapping[int, int] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Name of its bag."""
        return f"{'kitti360' if self.frames is None else 'sscbench'}_{self.drive}"

    @property
    def split(self) -> str:
        """SSCBench's split of the drive."""
        number = DRIVE.fullmatch(self.drive)[1]
        return next((name for name, drives in SSCBENCH_SPLITS.items() if number in drives), "")

    @property
    def images(self) -> Path:
        """Folder with the images."""
        return self.root / "data_2d_raw" / self.drive

    def read(self, options: Options, report: Report) -> Content:
        """Everything but the images and sweeps, which events read.

        Raises:
            DatasetError: There is no calibration, or no times.
        """
        calibration = Calibration(self.root / "calibration")
        content = Content(links=calibration.links())
        self._add_stereo(content, calibration, options, report)
        stamps_ns = self._times("image_00", report)
        if self.frames is None:
            self._add_fisheyes(content, calibration, options, report)
            self._add_sweeps(content, report)
            self._add_label_images(content, stamps_ns, options, report)
        else:
            self._add_voxels(content, stamps_ns, report)
        self._add_poses(content, calibration, stamps_ns, options, report)
        return content

    def _times(self, folder: str, report: Report) -> dict[int, int]:
        """Stamps by the number of the file."""
        path = self.images / folder / "timestamps.txt"
        if self.frames is not None and not path.is_file():
            raise DatasetError(
                f"{path} is missing, SSCBench comes without times: copy it from the same place in "
                "KITTI-360's data_2d_raw"
            )
        stamps_ns = read_times(path, report)
        if self.frames is None:
            return stamps_ns
        return {n: stamps_ns[f] for n, f in self.frames.items() if f in stamps_ns}

    def _add_stereo(
        self, content: Content, calibration: Calibration, options: Options, report: Report
    ) -> None:
        published = [calibration.matrix(f"P_rect_{n}", (3, 4)) for n in ("00", "01")]
        rig = zip(("00", "01"), ("left", "right"), stereo_projections(*published), strict=True)
        for number, side, P in rig:
            folder = self.images / f"image_{number}"
            files = numbered(folder / "data_rect", ".png")
            if not files:
                report.lacks(f"image_{number}/data_rect (/perspective/{side})")
                continue
            width, height = calibration.matrix(f"S_rect_{number}", (2,)).astype(int).tolist()
            topic, frame = f"/perspective/{side}/image_rect", f"perspective_{side}_optical"
            camera = CameraModel(topic, frame, width, height, P)
            stamps_ns = self._times(f"image_{number}", report)
            note_gaps(report, folder, files, stamps_ns)
            add_images(content, folder, files, stamps_ns, camera, options, report)

    def _add_fisheyes(
        self, content: Content, calibration: Calibration, options: Options, report: Report
    ) -> None:
        for number, side in FISHEYES.items():
            folder = self.images / f"image_{number}"
            files = numbered(folder / "data_rgb", ".png")
            if not files:
                report.lacks(f"image_{number}/data_rgb (/fisheye/{side})")
                continue
            path = calibration.folder / f"image_{number}.yaml"
            model = equidistant(path)
            topic, frame = f"/fisheye/{side}/image_raw", f"fisheye_{side}_optical"
            P = np.hstack([model.K, np.zeros((3, 1))])
            size = model.width, model.height
            camera = CameraModel(topic, frame, *size, P, model.K, model.D, "equidistant")
            T = calibration.T_velodyne_pose @ calibration.T_pose_camera(number)
            content.links.append(Link(VELODYNE, frame, T))
            mei = {"data": read_text(path)}
            content.latched.append(Outgoing(f"/fisheye/{side}/mei_calibration", TEXT, mei))
            stamps_ns = self._times(folder.name, report)
            note_gaps(report, folder, files, stamps_ns)
            add_images(content, folder, files, stamps_ns, camera, options, report)

    def _add_sweeps(self, content: Content, report: Report) -> None:
        folder = self.root / "data_3d_raw" / self.drive / "velodyne_points"
        files = numbered(folder / "data", ".bin")
        if not files:
            report.lacks(f"velodyne_points ({SWEEPS})")
            return
        stamps_ns = read_times(folder / "timestamps.txt", report)
        note_gaps(report, folder, files, stamps_ns)
        for frame in files.keys() & stamps_ns.keys():
            content.at(stamps_ns[frame], sweep, files[frame], stamps_ns[frame])

    def _add_label_images(
        self, content: Content, stamps_ns: Mapping[int, int], options: Options, report: Report
    ) -> None:
        folder = self.root / "data_2d_semantics" / "train" / self.drive / "image_00"
        for kind, name in LABEL_IMAGES.items():
            files = numbered(folder / kind, ".png")
            topic = SEMANTIC.format(name)
            if not files:
                report.lacks(f"data_2d_semantics {kind} ({topic})")
            for frame in files.keys() & stamps_ns.keys():
                stamp_ns = stamps_ns[frame]
                content.at(stamp_ns, label_image, files[frame], topic, LEFT, stamp_ns, options)

    def _add_voxels(self, content: Content, stamps_ns: Mapping[int, int], report: Report) -> None:
        raw = numbered(self.images / "voxels", ".label")
        ready = preprocessed(self.root, "preprocess", "labels", self.drive)
        if not raw and not ready:
            report.lacks(f"voxels ({TRUE_VOXELS})")
            return
        expected = [number for number in stamps_ns if number % VOXEL_STEP == 0]
        note_gaps(report, self.images / "voxels", raw | ready, expected)
        add_voxels(content, raw, ready, stamps_ns, SSCBENCH_SCHEME)

    def _add_poses(
        self,
        content: Content,
        calibration: Calibration,
        stamps_ns: Mapping[int, int],
        options: Options,
        report: Report,
    ) -> None:
        """Poses of the base at the frames that have one; nothing is filled in between."""
        poses = self._poses_of_base(calibration, options, report)
        if not poses:
            return
        content.links.append(Link(MAP, ODOM, np.eye(4)))
        without = []
        for number, stamp_ns in stamps_ns.items():
            frame = number if self.frames is None else self.frames[number]
            if frame in poses:
                add_pose(content, poses[frame], stamp_ns)
            else:
                without.append(number)
        if without:
            report.lacks(f"poses of {len(without)} frames ({ranges(without)})")

    def _poses_of_base(
        self, calibration: Calibration, options: Options, report: Report
    ) -> dict[int, Matrix]:
        """`T_map_base` by KITTI-360's frame."""
        T_base_pose = T_BASE_VELODYNE @ calibration.T_velodyne_pose
        T_base_left = T_BASE_VELODYNE @ calibration.T_velodyne_left
        if options.poses is not None:
            path = options.poses / self.drive / "poses.txt"
            cameras = read_numbered_poses(path, (3, 4), report) if path.is_file() else {}
            if not cameras:
                report.lacks(f"poses ({path}: no /tf)")
            # Relative to the first camera; the map gets the axes of the first base.
            return {n: T_base_left @ T @ inverse(T_base_left) for n, T in cameras.items()}
        folder = self.root / "data_poses" / self.drive
        if (folder / "poses.txt").is_file():
            poses = read_numbered_poses(folder / "poses.txt", (3, 4), report)
            return {n: T @ inverse(T_base_pose) for n, T in poses.items()}
        if (folder / "cam0_to_world.txt").is_file():
            poses = read_numbered_poses(folder / "cam0_to_world.txt", (4, 4), report)
            return {n: T @ inverse(T_base_left) for n, T in poses.items()}
        report.lacks("data_poses (/tf)")
        return {}


def find_drives(source: Path, *, match_list: Path | None = None) -> list[Kitti360Drive]:
    """Drives of KITTI-360.

    Args:
        source: Folder with calibration/ and data_2d_raw/.
        match_list: SSCBench's list of frames; None = this is KITTI-360 itself.

    Raises:
        DatasetError: There is none.
    """
    folder = source / "data_2d_raw"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    drives = [p.name for p in found if p.is_dir() and DRIVE.fullmatch(p.name)]
    if not drives:
        raise DatasetError(
            f"{source} has no drive of KITTI-360: give the folder that holds "
            "data_2d_raw/2013_05_28_drive_NNNN_sync and calibration"
        )
    if match_list is None:
        return [Kitti360Drive(source, drive) for drive in drives]
    matches = read_match_list(match_list)
    if missing := [drive for drive in drives if drive not in matches]:
        raise DatasetError(f"{match_list} does not name {missing[0]}: use SSCBench's own list")
    return [Kitti360Drive(source, drive, matches[drive]) for drive in drives]


def find_match_list(source: Path) -> Path:
    """SSCBench's list, in the data set's folder or one below it.

    Raises:
        DatasetError: It is not there.
    """
    found = [*source.glob(MATCH_LIST), *source.glob(f"*/{MATCH_LIST}")]
    if not found:
        raise DatasetError(
            f"{source} has no {MATCH_LIST}, which says which frame of KITTI-360 an image is: "
            "put SSCBench's list there"
        )
    return found[0]


def read_match_list(path: Path) -> dict[str, dict[int, int]]:
    """SSCBench's number -> KITTI-360's frame, by drive; lines of other content are passed over.

    Raises:
        DatasetError: The file is missing or names no frame.
    """
    matches: dict[str, dict[int, int]] = {}
    for line in read_text(path).splitlines():
        words = line.split()
        if len(words) == 3 and DRIVE.fullmatch(words[0]):
            frame, number = (Path(word).stem for word in words[1:])
            if frame.isdecimal() and number.isdecimal():
                matches.setdefault(words[0], {})[int(number)] = int(frame)
    if not matches:
        raise DatasetError(f"{path} names no frame: use SSCBench's own list")
    return matches


def read_numbered_poses(path: Path, shape: tuple[int, int], report: Report) -> dict[int, Matrix]:
    """Poses by frame, of lines with the frame first; damaged lines are reported and left out.

    Raises:
        DatasetError: The file cannot be read.
    """
    poses: dict[int, Matrix] = {}
    for line_number, line in enumerate(read_text(path).rstrip().splitlines(), start=1):
        with report.tolerating():
            numbers = check_numbers(path, line.split(), 1 + shape[0] * shape[1], line_number)
            poses[int(numbers[0])] = rigid(np.reshape(numbers[1:], shape))
    return poses
