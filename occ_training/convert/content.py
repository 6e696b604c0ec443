"""What a scene of a data set consists of before it is written: transforms and events in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from occ_perception.geometry.transforms import Matrix, inverse, transform
from occ_training.convert.files import COPY_AGAIN, EncodedImage, ranges, read_image
from occ_training.convert.messages import (
    CameraModel,
    Outgoing,
    camera_info,
    compressed_image,
    moving_pose,
    raw_image,
    true_pose,
)
from occ_training.convert.report import DatasetError, Report

MAP, ODOM, BASE = "map", "odom", "base_link"
VELODYNE = "velodyne"
VELODYNE_HEIGHT_M = 1.73  # above the ground in KITTI and KITTI-360
TRUE_POSE = "/ground_truth/pose"
TRUE_VOXELS, TRUE_LABEL_MAP = "/ground_truth/voxels", "/ground_truth/label_map"
TRUE_POINTS = "/ground_truth/points"
T_BASE_VELODYNE: Matrix = transform((0.0, 0.0, VELODYNE_HEIGHT_M))

Make = Callable[[], Sequence[Outgoing]]


@dataclass(frozen=True)
class Options:
    """How data sets are converted.

    Attributes:
        raw_images: Write decoded images instead of the original PNG or JPEG bytes.
        poses: Folder with poses of the rectified camera 0 that were computed elsewhere (ORB-SLAM),
            for drives of KITTI Raw and KITTI-360; None = the data set's own.
    """

    raw_images: bool = False
    poses: Path | None = None


@dataclass(frozen=True, eq=False)
class Link:
    """A static transform: pose `T` of frame `child` in frame `parent`."""

    parent: str
    child: str
    T: Matrix


@dataclass(frozen=True, eq=False)
class Event:
    """Something that happens at a time.

    Attributes:
        stamp_ns: When, nanoseconds.
        make: Reads the files and makes the messages; raises if a file is damaged.
    """

    stamp_ns: int
    make: Make


@dataclass(eq=False)
class Content:
    """A scene.

    Attributes:
        links: Static transforms.
        events: In any order.
        latched: Messages for whoever comes late, written first.
    """

    links: list[Link] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    latched: list[Outgoing] = field(default_factory=list)

    def at(
        self, stamp_ns: int, make: Callable[..., Sequence[Outgoing]], *arguments: object
    ) -> None:
        """Add an event."""
        self.events.append(Event(stamp_ns, partial(make, *arguments)))


class Scene(Protocol):
    """One drive, sequence or scene; picklable, so that a process of its own can convert it."""

    @property
    def name(self) -> str:
        """Name of its bag."""
        ...

    @property
    def split(self) -> str:
        """Published split it belongs to, or an empty text."""
        ...

    def read(self, options: Options, report: Report) -> Content:
        """Read tables and calibration; images and the like are read by the events."""
        ...


def rigid(T: Matrix) -> Matrix:
    """`[4, 4]` transform with the nearest rotation, from `[3, 4]` or `[4, 4]` as text has it."""
    u, _, v = np.linalg.svd(T[:3, :3])
    out = np.eye(4)
    out[:3, :3] = u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
    out[:3, 3] = T[:3, 3]
    return out


def rectified_offset(P: Matrix) -> Matrix:
    """`T_reference_camera` of a rectified camera from its 3x4 projection of the reference's points.

    The fourth column of P is -K times the position of the camera.
    """
    return inverse(transform(np.linalg.inv(P[:, :3]) @ P[:, 3]))


def stereo_projections(P_left: Matrix, P_right: Matrix) -> tuple[Matrix, Matrix]:
    """Projections of a pair as ROS wants them: the left one is the origin, the right has Tx only.

    What the published matrices say beyond that (the left camera is not camera 0, a few millimetres
    of height) belongs in the transforms.
    """
    left, right = P_left.copy(), P_right.copy()
    left[:, 3] = 0.0
    right[:, 3] = P_right[0, 3] - P_left[0, 3], 0.0, 0.0
    return left, right


def image_and_info(
    path: Path, camera: CameraModel, stamp_ns: int, options: Options
) -> list[Outgoing]:
    """An image file and its CameraInfo.

    Raises:
        DatasetError: The file is damaged or of another size than the calibration.
    """
    image = read_image(path, camera.size)
    info = camera_info(camera, stamp_ns)
    return [encoded(image, path, camera.topic, camera.frame_id, stamp_ns, options), info]


def label_image(
    path: Path, topic: str, frame_id: str, stamp_ns: int, options: Options
) -> list[Outgoing]:
    """A label file in PNG form."""
    return [encoded(read_image(path), path, topic, frame_id, stamp_ns, options)]


def encoded(
    image: EncodedImage, path: Path, topic: str, frame_id: str, stamp_ns: int, options: Options
) -> Outgoing:
    """Bytes as they are, or pixels where raw images are asked for."""
    if not options.raw_images:
        return compressed_image(topic, frame_id, stamp_ns, image.data, image.form)
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(image.data, np.uint8), flags)
    if pixels is None:
        raise DatasetError(f"{path} cannot be decoded: {COPY_AGAIN}")
    if pixels.ndim == 3:
        return raw_image(topic, frame_id, stamp_ns, pixels[..., ::-1], "rgb8")
    return raw_image(topic, frame_id, stamp_ns, pixels, f"mono{8 * pixels.itemsize}")


def add_images(
    content: Content,
    folder: Path,
    files: Mapping[int, Path],
    stamps_ns: Mapping[int, int],
    camera: CameraModel,
    options: Options,
    report: Report,
) -> None:
    """Images of one camera at the stamps of their numbers; numbers without a stamp are reported."""
    for number in files.keys() & stamps_ns.keys():
        stamp_ns = stamps_ns[number]
        content.at(stamp_ns, image_and_info, files[number], camera, stamp_ns, options)
    if strangers := sorted(files.keys() - stamps_ns.keys()):
        report.problem(
            f"{folder} has frames without a time ({ranges(strangers)}), they are left out: "
            "fetch the file with the times again"
        )


def add_pose(content: Content, T_odom_base: Matrix, stamp_ns: int) -> None:
    """The base in the world: on /tf and, as truth, as a message of its own."""
    messages = [
        moving_pose(T_odom_base, stamp_ns, ODOM, BASE),
        true_pose(TRUE_POSE, T_odom_base, stamp_ns, ODOM),
    ]
    content.at(stamp_ns, lambda: messages)
