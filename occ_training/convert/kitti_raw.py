"""KITTI Raw: drives with stamped images, sweeps, and an IMU with GPS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from occ_perception.geometry.transforms import (
    Matrix,
    inverse,
)
from occ_training.convert import messages
from occ_training.convert.content import (
    BASE,
    MAP,
    ODOM,
    T_BASE_VELODYNE,
    VELODYNE,
    Content,
    Link,
    Options,
    add_images,
    add_pose,
    rectified_offset,
    rigid,
    stereo_projections,
)
from occ_training.convert.files import (
    COPY_AGAIN,
    ascending,
    entry,
    nanoseconds,
    note_gaps,
    numbered,
    read_image,
    read_stamps,
    read_table,
)
from occ_training.convert.kitti import PAIRS, SIDES, read_poses
from occ_training.convert.lidar import SWEEPS, sweep
from occ_training.convert.messages import CameraModel, Outgoing
from occ_training.convert.oxts import IMU, imu_and_fix, poses_of_base, read_oxts
from occ_training.convert.report import DatasetError, Report

LOCAL_TIME = timedelta(hours=2)  # German summer time; the files do not say so
DEPTH_PER_M = 256  # the PNG's values, 0 = no depth
DRIVE = re.compile(r"(\d{4}_\d{2}_\d{2})_drive_(\d{4})_sync")


@dataclass(frozen=True)
class KittiDrive:
    """One drive of a day.

    Attributes:
        folder: `DATE_drive_NNNN_sync`, in the folder of its day.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of its bag."""
        return f"kitti_raw_{self.folder.name}"

    @property
    def split(self) -> str:
        """Published splits are by frame lists of papers, not by drive."""
        return ""

    def read(self, options: Options, report: Report) -> Content:
        """Everything but the images and sweeps, which events read.

        Raises:
            DatasetError: There is no calibration.
        """
        day = self.folder.parent
        cameras = read_table(day / "calib_cam_to_cam.txt")
        T_velodyne_imu = stated_transform(day / "calib_imu_to_velo.txt")
        content = Content(links=sensor_links(day, cameras, T_velodyne_imu))
        for pair in PAIRS:
            folders = tuple(f"image_0{name[-1]}" for name in pair.folders)
            self._add_pair(content, folders, (pair.topic, pair.frame), cameras, options, report)
        self._add_sweeps(content, report)
        T_base_imu = T_BASE_VELODYNE @ T_velodyne_imu
        if options.poses is None:
            self._add_oxts(content, T_base_imu, report)
        else:
            self._add_computed_poses(content, options.poses, report)
        return content

    def _add_pair(
        self,
        content: Content,
        folders: tuple[str, ...],
        names: tuple[str, str],
        table: Mapping[str, Matrix],
        options: Options,
        report: Report,
    ) -> None:
        files = [numbered(self.folder / name / "data", ".png") for name in folders]
        if not any(files):
            report.lacks(f"{' and '.join(folders)} ({names[0]})")
            return
        path = self.folder.parent / "calib_cam_to_cam.txt"
        published = [entry(dict(table), f"P_rect_{f[-2:]}", (3, 4), path) for f in folders]
        rig = zip(SIDES, folders, files, stereo_projections(*published), strict=True)
        for side, folder, images, P in rig:
            if not images:
                report.lacks(f"{folder} ({names[0]}/{side})")
                continue
            width, height = entry(dict(table), f"S_rect_{folder[-2:]}", (2,), path).astype(int)
            topic, frame = f"{names[0]}/{side}/image_rect", f"{names[1]}_{side}_optical"
            camera = CameraModel(topic, frame, int(width), int(height), P)
            stamps_ns = read_times(self.folder / folder / "timestamps.txt", report)
            note_gaps(report, self.folder / folder, images, stamps_ns)
            add_images(content, self.folder / folder, images, stamps_ns, camera, options, report)
            self._add_depth(content, folder, camera, stamps_ns)

    def _add_depth(
        self, content: Content, folder: str, camera: CameraModel, stamps_ns: Mapping[int, int]
    ) -> None:
        """The depth benchmark's accumulated LiDAR depth, where it was unpacked into the drive."""
        files = numbered(self.folder / "proj_depth" / "groundtruth" / folder, ".png")
        for frame in files.keys() & stamps_ns.keys():
            content.at(stamps_ns[frame], depth_image, files[frame], camera, stamps_ns[frame])

    def _add_sweeps(self, content: Content, report: Report) -> None:
        folder = self.folder / "velodyne_points"
        files = numbered(folder / "data", ".bin")
        if not files:
            report.lacks(f"velodyne_points ({SWEEPS})")
            return
        stamps_ns = sweep_times(folder, report)
        note_gaps(report, folder, files, stamps_ns)
        for frame in files.keys() & stamps_ns.keys():
            content.at(stamps_ns[frame], sweep, files[frame], stamps_ns[frame])

    def _add_oxts(self, content: Content, T_base_imu: Matrix, report: Report) -> None:
        """Poses of the base in east, north, up around its first place; IMU and GPS as measured."""
        files = numbered(self.folder / "oxts" / "data", ".txt")
        if not files:
            report.lacks("oxts (/tf, /imu/data, /gps/fix)")
            return
        stamps_ns = read_times(self.folder / "oxts" / "timestamps.txt", report)
        note_gaps(report, self.folder / "oxts", files, stamps_ns)
        measured = read_oxts({n: files[n] for n in files if n in stamps_ns}, report)
        content.links.append(Link(MAP, ODOM, np.eye(4)))
        poses = poses_of_base(measured, T_base_imu)
        for number, T_odom_base in poses.items():
            stamp_ns = stamps_ns[number]
            add_pose(content, T_odom_base, stamp_ns)
            content.at(stamp_ns, imu_and_fix, measured[number], stamp_ns)

    def _add_computed_poses(self, content: Content, poses: Path, report: Report) -> None:
        path = poses / self.folder.parent.name / f"{self.folder.name}.txt"
        if not path.is_file():
            report.lacks(f"poses ({path}: no /tf)")
            return
        stamps_ns = read_times(self.folder / "image_00" / "timestamps.txt", report)
        T_base_camera = T_BASE_VELODYNE @ content.links[1].T
        content.links.append(Link(MAP, ODOM, np.eye(4)))
        for number, T in read_poses(path, report).items():
            if number in stamps_ns:
                pose = T_base_camera @ T @ inverse(T_base_camera)
                add_pose(content, pose, stamps_ns[number])


def find_drives(source: Path) -> list[KittiDrive]:
    """Drives below the root of KITTI Raw, a day, or a drive itself.

    Raises:
        DatasetError: There is none.
    """
    candidates = [source, *source.glob("*"), *source.glob("*/*")]
    folders = sorted(p for p in candidates if p.is_dir() and DRIVE.fullmatch(p.name))
    if not folders:
        raise DatasetError(
            f"{source} has no drive of KITTI Raw: give the folder that holds "
            "DATE/DATE_drive_NNNN_sync (the 'synced+rectified' archives)"
        )
    return [KittiDrive(folder) for folder in folders]


def stated_transform(path: Path) -> Matrix:
    """`[4, 4]` of a file with R and T.

    Raises:
        DatasetError: One of them is not there.
    """
    table = read_table(path)
    T = np.hstack([entry(table, "R", (3, 3), path), entry(table, "T", (3, 1), path)])
    return rigid(T)


def sensor_links(day: Path, cameras: Mapping[str, Matrix], T_velodyne_imu: Matrix) -> list[Link]:
    """The sensors below the base. The second link is the rectified camera 0."""
    path = day / "calib_cam_to_cam.txt"
    table = dict(cameras)
    R_rect = np.eye(4)
    R_rect[:3, :3] = entry(table, "R_rect_00", (3, 3), path)
    T_left_velodyne = rigid(R_rect) @ stated_transform(day / "calib_velo_to_cam.txt")
    left = "camera_left_optical"
    links = [
        Link(BASE, VELODYNE, T_BASE_VELODYNE),
        Link(VELODYNE, left, inverse(T_left_velodyne)),
        Link(VELODYNE, IMU, T_velodyne_imu),
    ]
    frames = ("camera_right_optical", "camera_color_left_optical", "camera_color_right_optical")
    for number, frame in enumerate(frames, start=1):
        P = entry(table, f"P_rect_0{number}", (3, 4), path)
        links.append(Link(left, frame, rectified_offset(P)))
    return links


def local_time_ns(path: Path, text: str, line: int) -> int:
    """`YYYY-MM-DD HH:MM:SS.nnnnnnnnn` of German summer time to nanoseconds since 1970, UTC.

    Raises:
        DatasetError: It is no such time.
    """
    moment, _, fraction = text.partition(".")
    try:
        whole = datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) - LOCAL_TIME
    except ValueError as error:
        raise DatasetError(f"{path} line {line}: '{text[:40]}' is no time: {COPY_AGAIN}") from error
    return int(whole.timestamp()) * 10**9 + nanoseconds(path, f"0.{fraction or 0}", line)


def read_times(path: Path, report: Report) -> dict[int, int]:
    """Stamps by frame, without those that go backwards.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    return ascending(read_stamps(path, local_time_ns), path, report)


def sweep_times(folder: Path, report: Report) -> dict[int, int]:
    """Middle of each turn of the scanner, when it looks forward.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    start, end = (folder / f"timestamps_{name}.txt" for name in ("start", "end"))
    if not (start.is_file() and end.is_file()):
        return read_times(folder / "timestamps.txt", report)
    starts, ends = read_stamps(start, local_time_ns), read_stamps(end, local_time_ns)
    middles = {n: (starts[n] + ends[n]) // 2 for n in starts if n in ends}
    return ascending(middles, start, report)


def depth_image(path: Path, camera: CameraModel, stamp_ns: int) -> list[Outgoing]:
    """Depth along the optical axis in metres, 0 where there is none.

    Raises:
        DatasetError: The file is damaged, no 16-bit PNG, or of another size than the images.
    """
    data = read_image(path, camera.size).data
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 2:
        raise DatasetError(f"{path} is no depth map (16-bit grey PNG): {COPY_AGAIN}")
    topic = f"/ground_truth{camera.topic.rsplit('/', 1)[0]}/depth"
    depth_m = values.astype("<f4") / np.float32(DEPTH_PER_M)
    return [messages.raw_image(topic, camera.frame_id, stamp_ns, depth_m, "32FC1")]
