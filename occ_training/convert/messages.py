"""Fields of the messages that go into a bag, for `BagWriter.write_message`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from occ_perception.core.grid import GridSpec, cubic_size_m
from occ_perception.core.labels import LabelMap
from occ_perception.geometry.transforms import Matrix, quaternion_from_matrix

Fields = Mapping[str, Any]
TF, TF_STATIC = "/tf", "/tf_static"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE = "sensor_msgs/msg/Image"
POINTS = "sensor_msgs/msg/PointCloud2"
POSE = "geometry_msgs/msg/PoseStamped"
VOXELS = "occ_msgs/msg/VoxelGrid"
LABEL_MAP = "occ_msgs/msg/LabelMap"
TEXT = "std_msgs/msg/String"
# Codes of sensor_msgs/PointField.
POINT_TYPES = {"u1": 2, "u2": 4, "u4": 6, "f4": 7}


class Outgoing(NamedTuple):
    """One message that is to be written.

    Attributes:
        topic: Topic name.
        msgtype: "package/msg/Name".
        fields: Its fields.
    """

    topic: str
    msgtype: str
    fields: Fields


@dataclass(frozen=True, eq=False)
class CameraModel:
    """What a CameraInfo says, and where it is said.

    Attributes:
        topic: Image topic without /compressed; camera_info lies beside it.
        frame_id: Optical frame.
        width: Pixels.
        height: Pixels.
        P: `[3, 4]` projection of the rectified image, pixels.
        K: `[3, 3]` of the image as it is; None = left part of P, a rectified image.
        D: Distortion of the image as it is.
        model: "plumb_bob" or "equidistant".
    """

    topic: str
    frame_id: str
    width: int
    height: int
    P: Matrix
    K: Matrix | None = None
    D: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    model: str = "plumb_bob"

    @property
    def info_topic(self) -> str:
        """Topic of its CameraInfo."""
        return f"{self.topic.rsplit('/', 1)[0]}/camera_info"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.width, self.height


@dataclass(frozen=True, eq=False)
class VoxelTruth:
    """Voxels of one instant.

    Attributes:
        grid: Where they are.
        labels: `[X, Y, Z]` uint8, or None for a mask alone.
        known: `[X, Y, Z]` bool: the label rests on an observation.
        label_map: Name of the label map.
    """

    grid: GridSpec
    known: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.uint8] | None = None
    label_map: str = field(default="")


def time(stamp_ns: int) -> Fields:
    """builtin_interfaces/Time."""
    return {"sec": stamp_ns // 10**9, "nanosec": stamp_ns % 10**9}


def header(stamp_ns: int, frame_id: str) -> Fields:
    """std_msgs/Header."""
    return {"stamp": time(stamp_ns), "frame_id": frame_id}


def pose_fields(T: Matrix) -> Fields:
    """geometry_msgs/Pose."""
    return {
        "position": dict(zip("xyz", T[:3, 3].tolist(), strict=True)),
        "orientation": dict(zip("xyzw", quaternion_from_matrix(T[:3, :3]).tolist(), strict=True)),
    }


def transform_fields(T: Matrix, stamp_ns: int, parent: str, child: str) -> Fields:
    """geometry_msgs/TransformStamped: pose of `child` in `parent`."""
    pose = pose_fields(T)
    return {
        "header": header(stamp_ns, parent),
        "child_frame_id": child,
        "transform": {"translation": pose["position"], "rotation": pose["orientation"]},
    }


def camera_info(camera: CameraModel, stamp_ns: int) -> Outgoing:
    """The CameraInfo that goes with an image of the same stamp."""
    fields = {
        "header": header(stamp_ns, camera.frame_id),
        "width": camera.width,
        "height": camera.height,
        "distortion_model": camera.model,
        "d": np.array(camera.D, np.float64),
        "k": camera.P[:, :3] if camera.K is None else camera.K,
        "r": np.eye(3),
        "p": camera.P,
    }
    return Outgoing(camera.info_topic, CAMERA_INFO, fields)


def compressed_image(topic: str, frame_id: str, stamp_ns: int, data: bytes, form: str) -> Outgoing:
    """Bytes of an image file on `topic`/compressed."""
    fields = {"header": header(stamp_ns, frame_id), "format": form, "data": data}
    return Outgoing(f"{topic}/compressed", COMPRESSED_IMAGE, fields)


def raw_image(
    topic: str, frame_id: str, stamp_ns: int, pixels: npt.NDArray[np.generic], encoding: str
) -> Outgoing:
    """Pixels `[H, W]` or `[H, W, C]` in the byte order of this machine's little end."""
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).reshape(height, -1).view(np.uint8)
    fields = {
        "header": header(stamp_ns, frame_id),
        "height": height,
        "width": width,
        "encoding": encoding,
        "step": data.shape[1],
        "data": data,
    }
    return Outgoing(topic, IMAGE, fields)


def points(
    topic: str, frame_id: str, stamp_ns: int, columns: Mapping[str, npt.NDArray[np.generic]]
) -> Outgoing:
    """A PointCloud2 without the points whose coordinates are not finite.

    Args:
        topic: Topic.
        frame_id: Frame of the coordinates.
        stamp_ns: Time of the sweep, nanoseconds.
        columns: x, y, z and further values by name, one number per point; a step of whole 4 bytes.
    """
    finite = np.isfinite([columns[axis] for axis in "xyz"]).all(axis=0)
    offsets = np.cumsum([0, *(column.dtype.itemsize for column in columns.values())])
    step = int(-(-offsets[-1] // 4) * 4)
    layout = np.dtype(
        {
            "names": list(columns),
            "formats": [column.dtype for column in columns.values()],
            "offsets": offsets[:-1].tolist(),
            "itemsize": step,
        }
    )
    cloud = np.zeros(int(finite.sum()), layout)
    for name, column in columns.items():
        cloud[name] = column[finite]
    fields = {
        "header": header(stamp_ns, frame_id),
        "height": 1,
        "width": cloud.size,
        "fields": [
            {"name": name, "offset": layout.fields[name][1], "count": 1}
            | {"datatype": POINT_TYPES[layout.fields[name][0].str[1:]]}
            for name in columns
        ],
        "point_step": step,
        "row_step": step * cloud.size,
        "data": cloud.view(np.uint8),
        "is_dense": True,
    }
    return Outgoing(topic, POINTS, fields)


def moving_pose(T: Matrix, stamp_ns: int, parent: str, child: str) -> Outgoing:
    """A pose on /tf."""
    return Outgoing(TF, TF_MESSAGE, {"transforms": [transform_fields(T, stamp_ns, parent, child)]})


def true_pose(topic: str, T: Matrix, stamp_ns: int, frame_id: str) -> Outgoing:
    """A PoseStamped."""
    return Outgoing(topic, POSE, {"header": header(stamp_ns, frame_id), "pose": pose_fields(T)})


def voxels(topic: str, truth: VoxelTruth, stamp_ns: int) -> Outgoing:
    """A VoxelGrid, with its mask of what is known."""
    size_x, size_y, size_z = truth.grid.shape
    fields = {
        "header": header(stamp_ns, truth.grid.frame_id),
        "origin": {
            "position": dict(zip("xyz", truth.grid.origin_m, strict=True)),
            "orientation": {"w": 1.0},
        },
        "resolution": cubic_size_m(truth.grid),
        "size_x": size_x,
        "size_y": size_y,
        "size_z": size_z,
        "label_map": truth.label_map,
        "known": truth.known.astype(np.uint8).ravel(),
    }
    if truth.labels is not None:
        fields["labels"] = truth.labels.ravel()
    return Outgoing(topic, VOXELS, fields)


def label_map(topic: str, labels: LabelMap, stamp_ns: int) -> Outgoing:
    """What the ids of the voxels mean; goes with a latched topic."""
    fields = {
        "header": header(stamp_ns, ""),
        "name": labels.name,
        "ids": labels.ids,
        "names": labels.names,
        "colors_rgb": np.array(labels.colors_rgb, np.uint8),
        "free_id": labels.free_id,
        "unknown_id": labels.unknown_id,
        "blocking_ids": labels.blocking_ids,
    }
    return Outgoing(topic, LABEL_MAP, fields)
