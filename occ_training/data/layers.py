"""Label messages of a bag to arrays: voxels, points, images of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from occ_perception.bags.images import decode_values
from occ_perception.bags.points import columns_of
from occ_perception.core.errors import BagError
from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import Matrix
from occ_training.data.samples import LabelImage, Layer, Points, Voxels

# Frame -> its pose in the base, and the pose of the base in the world at the message's stamp.
Poses = Callable[[str], tuple[Matrix, Matrix | None]]


def decode_layer(msgtype: str, message: Any, stamp_ns: int, poses: Poses) -> Layer:
    """A label message as arrays.

    Args:
        msgtype: "package/msg/Name".
        message: The message.
        stamp_ns: Its stamp.
        poses: Of frames, where the kind of label needs them.

    Raises:
        BagError: No kind of label, or the arrays do not fit their sizes.
    """
    frame_id = message.header.frame_id.lstrip("/") if hasattr(message, "header") else ""
    if msgtype == "occ_msgs/msg/VoxelGrid":
        return voxels_of(message, stamp_ns, *poses(frame_id))
    if msgtype == "sensor_msgs/msg/PointCloud2":
        return Points(columns_of(message), stamp_ns, *poses(frame_id))
    if msgtype in ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"):
        return LabelImage(decode_values(message), stamp_ns, frame_id)
    raise BagError(f"messages of type {msgtype} are no labels: ask for voxels, points or images")


def voxels_of(
    message: Any, stamp_ns: int, T_base_grid: Matrix, T_world_base: Matrix | None
) -> Voxels:
    """A VoxelGrid.

    Raises:
        BagError: An array has another size than the grid.
    """
    position, q = message.origin.position, message.origin.orientation
    if abs(q.w) < 1 - 1e-6:
        raise BagError("the axes of a VoxelGrid are turned against its frame, which is not read")
    shape = (message.size_x, message.size_y, message.size_z)
    # The message has float32: 0.2 must come out as 0.2.
    size_m = round(float(message.resolution), 6)
    grid = GridSpec(
        (position.x, position.y, position.z),
        (size_m, size_m, size_m),
        shape,
        message.header.frame_id.lstrip("/"),
    )
    labels, known = _volume(message.labels, shape), _volume(message.known, shape)
    return Voxels(
        grid,
        labels,
        None if known is None else known.astype(np.bool_),
        message.label_map,
        stamp_ns,
        T_base_grid,
        T_world_base,
    )


def _volume(
    values: npt.NDArray[np.uint8], shape: tuple[int, int, int]
) -> npt.NDArray[np.uint8] | None:
    if values.size == 0:
        return None
    if values.size != np.prod(shape):
        raise BagError(f"a VoxelGrid of {shape} voxels has an array of {values.size}")
    return values.reshape(shape)
