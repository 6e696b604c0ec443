"""nuScenes and Occ3D: six cameras and a LiDAR, every record with a stamp and an ego pose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import load_label_map
from occ_perception.geometry.transforms import Matrix, transform
from occ_training.convert import messages
from occ_training.convert.content import (
    BASE,
    MAP,
    ODOM,
    TRUE_LABEL_MAP,
    TRUE_POINTS,
    TRUE_VOXELS,
    Content,
    Link,
    Options,
    add_pose,
    image_and_info,
)
from occ_training.convert.files import COPY_AGAIN, inside, read_array
from occ_training.convert.messages import CameraModel, Outgoing, VoxelTruth
from occ_training.convert.report import DatasetError, Report

LIDAR = "LIDAR_TOP"
BOXES = "/ground_truth/boxes"
CAMERA_MASK = "/ground_truth/camera_mask"
OCC3D_GRID = GridSpec((-40.0, -40.0, -1.0), (0.4, 0.4, 0.4), (200, 200, 16), BASE)
OCC3D_LABELS = "occ3d_nuscenes"
LARGEST_LABEL = 17
MARKER_CUBE = 1
MOVED_M, TURNED = 1e-3, 1e-4  # by which calibrations of one sensor in one scene may differ


@dataclass(frozen=True, eq=False)
class Record:
    """One file of one sensor.

    Attributes:
        channel: Sensor, e.g. CAM_FRONT.
        filename: Path below the root.
        stamp_ns: Nanoseconds (the data set has microseconds).
        T_ego_sensor: Pose of the sensor on the car.
        T_global_ego: Pose of the car at the stamp of this very record.
        K: `[3, 3]` for cameras, pixels.
        size: Width and height for cameras, pixels.
        key: Token of the sample if this is its key frame, else empty.
        lidarseg: Path of the point labels below the root, or empty.
    """

    channel: str
    filename: str
    stamp_ns: int
    T_ego_sensor: Matrix
    T_global_ego: Matrix
    K: Matrix | None = None
    size: tuple[int, int] = (0, 0)
    key: str = ""
    lidarseg: str = ""

    @property
    def frame_id(self) -> str:
        """Name of the sensor's frame."""
        return self.channel.lower() + ("_optical" if self.K is not None else "")


@dataclass(frozen=True, eq=False)
class Box:
    """One annotated object at a key frame, in the global frame.

    Attributes:
        stamp_ns: Of the sample.
        T_global_box: Centre and axes (x forward).
        size_m: Length, width, height.
        category: Name.
        instance: Number of the object in the scene.
    """

    stamp_ns: int
    T_global_box: Matrix
    size_m: tuple[float, float, float]
    category: str
    instance: int


@dataclass(frozen=True)
class NuScenesScene:
    """One scene.

    Attributes:
        root: Folder with samples/ and sweeps/.
        scene: scene-NNNN.
        split: Published split, or an empty text.
        records: Files of cameras and LiDAR.
        boxes: Annotated objects.
        missing: Kinds of data that the tables do not have.
        occ3d: Folder with gts/, or None.
    """

    root: Path
    scene: str
    split: str
    records: Sequence[Record] = field(repr=False)
    boxes: Sequence[Box] = field(default=(), repr=False)
    missing: tuple[str, ...] = ()
    occ3d: Path | None = None

    @property
    def name(self) -> str:
        """Name of its bag."""
        return f"nuscenes_{self.scene}"

    def read(self, options: Options, report: Report) -> Content:
        """Calibration and poses; events read images, sweeps and voxels.

        Raises:
            DatasetError: A sensor moves on the car.
        """
        for what in self.missing:
            report.lacks(what)
        content = Content(links=[*sensor_links(self.records, self.scene)])
        content.links.append(Link(MAP, ODOM, np.eye(4)))
        for record in ascending_records(self.records, report):
            self._add_record(content, record, options)
        poses = {record.stamp_ns: record.T_global_ego for record in self.records}
        for stamp_ns, T_global_ego in poses.items():
            add_pose(content, T_global_ego, stamp_ns)
        for stamp_ns in sorted({box.stamp_ns for box in self.boxes}):
            boxes = [box for box in self.boxes if box.stamp_ns == stamp_ns]
            content.at(stamp_ns, markers, boxes, stamp_ns)
        if self.occ3d is not None:
            self._add_voxels(content, report)
        return content

    def _add_record(self, content: Content, record: Record, options: Options) -> None:
        if record.K is None:
            content.at(record.stamp_ns, sweep, self.root, record)
            if record.lidarseg:
                content.at(record.stamp_ns, labelled_sweep, self.root, record)
            return
        P = np.hstack([record.K, np.zeros((3, 1))])
        topic = f"/{record.channel.lower()}/image_rect_color"
        camera = CameraModel(topic, record.frame_id, *record.size, P)
        content.at(record.stamp_ns, image, self.root, record, camera, options)

    def _add_voxels(self, content: Content, report: Report) -> None:
        folder = self.occ3d / "gts" / self.scene
        if not folder.is_dir():
            report.lacks(f"Occ3D voxels ({folder})")
            return
        keys = [r for r in self.records if r.key and r.channel == LIDAR]
        labels = load_label_map(OCC3D_LABELS)
        first_ns = min((r.stamp_ns for r in keys), default=0)
        content.latched.append(messages.label_map(TRUE_LABEL_MAP, labels, first_ns))
        for record in keys:
            path = folder / record.key / "labels.npz"
            content.at(record.stamp_ns, occ3d_voxels, path, record.stamp_ns)


def ascending_records(records: Iterable[Record], report: Report) -> list[Record]:
    """Records in order of time, one per channel and stamp; a second one is reported."""
    seen: set[tuple[str, int]] = set()
    kept = []
    for record in sorted(records, key=lambda r: (r.stamp_ns, r.channel, not r.key)):
        if (record.channel, record.stamp_ns) in seen:
            report.problem(
                f"{record.filename}: {record.channel} has two records at {record.stamp_ns} ns, "
                "one is left out: fetch the tables again"
            )
            continue
        seen.add((record.channel, record.stamp_ns))
        kept.append(record)
    return kept


def sensor_links(records: Iterable[Record], scene: str) -> list[Link]:
    """The sensors on the car.

    Raises:
        DatasetError: A sensor has two places within the scene.
    """
    links: dict[str, Link] = {}
    for record in records:
        link = links.setdefault(record.channel, Link(BASE, record.frame_id, record.T_ego_sensor))
        change = np.abs(link.T - record.T_ego_sensor)
        if change[:3, 3].max() > MOVED_M or change[:3, :3].max() > TURNED:
            raise DatasetError(
                f"scene {scene}: {record.channel} has two calibrations, a bag can hold one: "
                "fetch calibrated_sensor.json again"
            )
    return list(links.values())


def image(root: Path, record: Record, camera: CameraModel, options: Options) -> list[Outgoing]:
    """An image and its CameraInfo.

    Raises:
        DatasetError: The file is damaged, of another size, or its path leads out of the root.
    """
    return image_and_info(inside(root, record.filename), camera, record.stamp_ns, options)


def read_sweep(path: Path) -> dict[str, np.ndarray]:
    """Columns of a LIDAR_TOP file: five floats per point, no header despite its name.

    Raises:
        DatasetError: Missing or of a wrong size.
    """
    values = read_array(path, "V20").view("<f4").reshape(-1, 5)
    columns = dict(zip(("x", "y", "z", "intensity"), values[:, :4].T, strict=True))
    return columns | {"ring": values[:, 4].astype("<u2")}


def sweep(root: Path, record: Record) -> list[Outgoing]:
    """A PointCloud2 in the LiDAR's frame.

    Raises:
        DatasetError: The file is damaged, or its path leads out of the root.
    """
    columns = read_sweep(inside(root, record.filename))
    topic = f"/{record.channel.lower()}/points"
    return [messages.points(topic, record.frame_id, record.stamp_ns, columns)]


def labelled_sweep(root: Path, record: Record) -> list[Outgoing]:
    """A sweep with the lidarseg class (0..31) of each point.

    Raises:
        DatasetError: A file is damaged, or they are of different length.
    """
    columns = read_sweep(inside(root, record.filename))
    labels = read_array(inside(root, record.lidarseg), "u1", len(columns["x"]))
    labelled = {axis: columns[axis] for axis in "xyz"} | {"label": labels.astype("<u2")}
    return [messages.points(TRUE_POINTS, record.frame_id, record.stamp_ns, labelled)]


def occ3d_voxels(path: Path, stamp_ns: int) -> list[Outgoing]:
    """Labels with the LiDAR's mask, and the camera's mask beside them.

    Raises:
        DatasetError: The file is missing, damaged, or has an unknown id.
    """
    names = ("semantics", "mask_lidar", "mask_camera")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing: {COPY_AGAIN}") from error
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DatasetError(f"{path} is no file of Occ3D ({error}): {COPY_AGAIN}") from error
    shapes = {a.shape for a in arrays.values()}
    if shapes != {OCC3D_GRID.shape}:
        raise DatasetError(f"{path} has shapes {shapes}, not {OCC3D_GRID.shape}: {COPY_AGAIN}")
    semantics = arrays["semantics"].astype(np.uint8)
    if semantics.max() > LARGEST_LABEL:
        raise DatasetError(f"{path} has unknown label id {semantics.max()}: {COPY_AGAIN}")
    truth = VoxelTruth(OCC3D_GRID, arrays["mask_lidar"] == 1, semantics, OCC3D_LABELS)
    seen = VoxelTruth(OCC3D_GRID, arrays["mask_camera"] == 1)
    return [
        messages.voxels(TRUE_VOXELS, truth, stamp_ns),
        messages.voxels(CAMERA_MASK, seen, stamp_ns),
    ]


def markers(boxes: Sequence[Box], stamp_ns: int) -> list[Outgoing]:
    """The boxes of a key frame as a MarkerArray in the map's frame."""
    entries = [
        {
            "header": messages.header(stamp_ns, MAP),
            "ns": box.category,
            "id": box.instance,
            "type": MARKER_CUBE,
            "pose": messages.pose_fields(box.T_global_box),
            "scale": dict(zip("xyz", box.size_m, strict=True)),
            "color": {"r": 1.0, "g": 0.6, "a": 0.5},
        }
        for box in boxes
    ]
    return [Outgoing(BOXES, "visualization_msgs/msg/MarkerArray", {"markers": entries})]


def pose_wxyz(translation: Sequence[float], rotation: Sequence[float]) -> Matrix:
    """`[4, 4]` of the tables' translation and quaternion w x y z."""
    w, x, y, z = rotation
    return transform(translation, (x, y, z, w))


def microseconds(value: Mapping[str, object], where: str) -> int:
    """Stamp of a row in nanoseconds.

    Raises:
        DatasetError: It is no whole number.
    """
    stamp = value.get("timestamp")
    if not isinstance(stamp, int):
        raise DatasetError(f"{where}: timestamp '{stamp}' is no whole number of microseconds")
    return stamp * 1000
