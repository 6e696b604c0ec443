"""The one module that fills messages.

rclpy checks no types: an int in a float field is published as zero. So every computed value is
cast here, and bulk data goes in as flat bytes. Classes of messages come in as a namespace, so that
everything here runs, and is tested, without ROS.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import ConfigError
from occ_perception.core.grid import GridSpec, cubic_size_m
from occ_perception.core.labels import LabelMap
from occ_perception.geometry.transforms import Matrix, quaternion_from_matrix
from occ_perception.ros import compat
from occ_perception.ros.volume import Volume

NANOSECONDS = 1_000_000_000
_CLASSES = {
    "diagnostic_msgs": ("DiagnosticArray", "DiagnosticStatus", "KeyValue"),
    "geometry_msgs": ("Point", "TransformStamped"),
    "nav_msgs": ("OccupancyGrid",),
    "occ_msgs": ("FrameLatency", "LabelMap", "SemanticGaussians", "StageTime", "VoxelGrid"),
    "sensor_msgs": ("CameraInfo", "Image", "PointCloud2", "PointField"),
    "std_msgs": ("ColorRGBA", "Header"),
    "visualization_msgs": ("Marker", "MarkerArray"),
}
# Name, offset and datatype (sensor_msgs/PointField) of the fields of volume.POINT_TYPE. Viewers
# expect the colour's bits under the name of a float.
_UINT8, _FLOAT32 = 2, 7
_FIELDS = (("x", 0, _FLOAT32), ("y", 4, _FLOAT32), ("z", 8, _FLOAT32), ("rgb", 12, _FLOAT32),
           ("label", 16, _UINT8))  # fmt: skip


def ros_types() -> SimpleNamespace:
    """The message classes of the installed ROS.

    Raises:
        ConfigError: A package of messages is not installed or not built.
    """
    found = {}
    for package, names in _CLASSES.items():
        try:
            module = importlib.import_module(f"{package}.msg")
            found.update({name: getattr(module, name) for name in names})
        except (ImportError, AttributeError) as error:  # the source folder imports, but is empty
            raise ConfigError(
                f"the messages of {package} are not installed ({error}); build them with "
                "`make setup`, `pip install ./occ_msgs` or colcon"
            ) from error
    return SimpleNamespace(**found)


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time in nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def set_header(header: Any, time_ns: int, frame_id: str) -> None:
    """Fill a std_msgs/Header."""
    header.stamp.sec, header.stamp.nanosec = divmod(int(time_ns), NANOSECONDS)
    header.frame_id = str(frame_id)


def voxel_grid(types: Any, volume: Volume) -> Any:
    """occ_msgs/VoxelGrid: one copy per array, whatever its size."""
    message = types.VoxelGrid()
    set_header(message.header, volume.stamp_ns, volume.grid.frame_id)
    _set_corner(message.origin, volume.grid)
    message.resolution = cubic_size_m(volume.grid)
    message.size_x, message.size_y, message.size_z = (int(n) for n in volume.grid.shape)
    message.label_map = str(volume.label_map.name)
    message.labels.frombytes(volume.labels)
    if volume.probability is not None:
        message.probability.frombytes(volume.probability)
    if volume.known is not None:
        message.known.frombytes(volume.known.view(np.uint8))
    return message


def occupancy_grid(types: Any, volume: Volume, layers: slice, blocking: Any) -> Any:
    """nav_msgs/OccupancyGrid of a height band; see `Volume.footprint`."""
    grid = volume.grid
    message = types.OccupancyGrid()
    set_header(message.header, volume.stamp_ns, grid.frame_id)
    message.info.map_load_time.sec = message.header.stamp.sec
    message.info.map_load_time.nanosec = message.header.stamp.nanosec
    message.info.resolution = cubic_size_m(grid)
    message.info.width, message.info.height = int(grid.shape[0]), int(grid.shape[1])
    _set_corner(message.info.origin, grid)
    message.info.origin.position.z = float(grid.axis_centers(2)[layers.start])
    # Rows run along y, and x is fastest: the transpose of [x, y].
    message.data.frombytes(np.ascontiguousarray(volume.footprint(layers, blocking).T))
    return message


def point_cloud(types: Any, volume: Volume) -> Any:
    """sensor_msgs/PointCloud2 of the occupied voxels' centres: x y z rgb label."""
    header = types.Header()
    set_header(header, volume.stamp_ns, volume.grid.frame_id)
    fields = [
        types.PointField(name=name, offset=offset, datatype=datatype, count=1)
        for name, offset, datatype in _FIELDS
    ]
    return compat.create_cloud(header, fields, volume.points())


def blocking_markers(
    types: Any, volume: Volume, blocking: npt.NDArray[np.bool_], limit: int
) -> Any:
    """visualization_msgs/MarkerArray: cubes of the blocking voxels nearest to the grid's origin.

    Args:
        types: Message classes.
        volume: What is shown.
        blocking: `[256]`, does the id block a robot.
        limit: Most cubes; a message object each, and viewers get slow with many.
    """
    points = volume.points()
    points = points[blocking[points["label"]]]
    if len(points) > limit:
        distance = points["x"] ** 2 + points["y"] ** 2 + points["z"] ** 2
        points = points[np.argpartition(distance, limit)[:limit]]
    marker = types.Marker(ns="blocking", id=0, type=6, action=0)  # CUBE_LIST, ADD
    set_header(marker.header, volume.stamp_ns, volume.grid.frame_id)
    marker.pose.orientation.w = 1.0
    size = marker.scale
    size.x, size.y, size.z = (float(edge) for edge in volume.grid.voxel_size_m)
    marker.points = [types.Point(x=float(p["x"]), y=float(p["y"]), z=float(p["z"])) for p in points]
    rgb = volume.label_map.palette()[points["label"]] / 255.0
    marker.colors = [types.ColorRGBA(r=float(r), g=float(g), b=float(b), a=1.0) for r, g, b in rgb]
    return types.MarkerArray(markers=[marker])


def label_map(types: Any, labels: LabelMap, time_ns: int) -> Any:
    """occ_msgs/LabelMap."""
    message = types.LabelMap()
    set_header(message.header, time_ns, "")
    message.name = str(labels.name)
    message.ids.frombytes(bytes(labels.ids))
    message.names = [str(name) for name in labels.names]
    message.colors_rgb.frombytes(np.asarray(labels.colors_rgb, np.uint8))
    message.free_id, message.unknown_id = int(labels.free_id), int(labels.unknown_id)
    message.blocking_ids.frombytes(bytes(labels.blocking_ids))
    return message


def frame_latency(
    types: Any,
    time_ns: int,
    frame_id: str,
    reason: str,
    seconds: Mapping[str, float],
    counts: tuple[int, int, int],
) -> Any:
    """occ_msgs/FrameLatency; an empty reason means published.

    Args:
        types: Message classes.
        time_ns: Stamp of the anchor image.
        frame_id: Base frame.
        reason: Why the set was dropped.
        seconds: Stage times in order.
        counts: Sets formed, published, dropped.
    """
    message = types.FrameLatency()
    set_header(message.header, time_ns, frame_id)
    message.outcome = "dropped" if reason else "published"
    message.reason = str(reason)
    message.stages = [
        types.StageTime(stage=str(stage), seconds=float(value)) for stage, value in seconds.items()
    ]
    message.sets_formed, message.published, message.dropped = (int(n) for n in counts)
    return message


def transform_stamped(types: Any, time_ns: int, parent: str, child: str, T: Matrix) -> Any:
    """geometry_msgs/TransformStamped of `T_parent_child`, metres."""
    message = types.TransformStamped()
    set_header(message.header, time_ns, parent)
    message.child_frame_id = str(child)
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = (float(v) for v in T[:3, 3])
    rotation.x, rotation.y, rotation.z, rotation.w = (
        float(v) for v in quaternion_from_matrix(T[:3, :3])
    )
    return message


def _set_corner(pose: Any, grid: GridSpec) -> None:
    """Pose of the lower corner of the first voxel; the grid is parallel to its frame."""
    pose.position.x, pose.position.y, pose.position.z = (float(v) for v in grid.origin_m)
    pose.orientation.w = 1.0
