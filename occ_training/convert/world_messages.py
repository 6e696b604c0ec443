"""Messages of one frame of the procedural world."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from occ_training.convert import messages
from occ_training.convert import world_values as values
from occ_training.convert.content import TRUE_POINTS, TRUE_VOXELS
from occ_training.convert.lidar import SWEEPS
from occ_training.convert.messages import TEXT, CameraModel, Outgoing, VoxelTruth
from occ_training.convert.nuscenes import CAMERA_MASK, OCC3D_GRID, OCC3D_LABELS, Box, markers
from occ_training.convert.semantickitti_voxels import GRID, VoxelScheme, training_voxels
from occ_training.convert.trees.files import jpeg_bytes, png_bytes
from occ_training.data.semantickitti_labels import IGNORE
from occ_training.world.frames import Frame
from occ_training.world.manifest import frame_digests
from occ_training.world.rigs import RigCamera
from occ_training.world.scene import Scene

HASHES = "/ground_truth/world/hashes"  # JSON, SHA-256 of every array of the frame by name
ENCODERS = {"png": png_bytes, "jpeg": jpeg_bytes}


def pictures(
    model: CameraModel, frame: Frame, camera: RigCamera, form: str, stamp_ns: int | None = None
) -> Iterator[Outgoing]:
    """Image, CameraInfo, and the truth of every pixel.

    The truth is classes and instances (Cityscapes' ids, PNG) and depth along the axis (metres,
    0 = none).

    Args:
        model: What CameraInfo says, and where.
        frame: The frame.
        camera: The camera.
        form: "png", "jpeg" or "raw".
        stamp_ns: Stamp of the image; the frame's if None.
    """
    stamp_ns = frame.stamp_ns if stamp_ns is None else stamp_ns
    yield image(model.topic, model.frame_id, stamp_ns, values.picture(frame, camera), form)
    yield messages.camera_info(model, stamp_ns)
    folder = f"/ground_truth{model.topic.rsplit('/', 1)[0]}"
    labels = zip(("semantic", "instance"), values.street_labels(frame, camera.name), strict=True)
    for kind, ids in labels:
        exact = "raw" if form == "raw" else "png"
        yield image(f"{folder}/{kind}", model.frame_id, stamp_ns, ids, exact)
    render = frame.pictures[camera.name]
    depth_m = np.where(render.surface, render.depth_m, 0).astype("<f4")
    yield messages.raw_image(f"{folder}/depth", model.frame_id, stamp_ns, depth_m, "32FC1")


def image(
    topic: str, frame_id: str, stamp_ns: int, pixels: npt.NDArray[np.unsignedinteger], form: str
) -> Outgoing:
    """Pixels `[H, W]` or `[H, W, 3]` as PNG, JPEG or raw."""
    if form != "raw":
        data = ENCODERS[form](pixels)
        return messages.compressed_image(topic, frame_id, stamp_ns, data, form)
    encoding = "rgb8" if pixels.ndim == 3 else f"mono{8 * pixels.itemsize}"
    return messages.raw_image(topic, frame_id, stamp_ns, pixels, encoding)


def kitti_sweep(frame: Frame, frame_id: str, *, is_odometry: bool) -> Iterator[Outgoing]:
    """A sweep, and in KITTI odometry its labels."""
    xyzi = values.kitti_sweep(frame.sweep, corrected=is_odometry)
    columns = dict(zip(("x", "y", "z", "intensity"), xyzi.T, strict=True))
    yield messages.points(SWEEPS, frame_id, frame.stamp_ns, columns)
    if is_odometry:
        raw = values.kitti_point_labels(frame.sweep)
        labelled = {axis: columns[axis] for axis in "xyz"}
        labelled |= {"label": (raw & 0xFFFF).astype("<u2"), "instance": (raw >> 16).astype("<u2")}
        yield messages.points(TRUE_POINTS, frame_id, frame.stamp_ns, labelled)


def nuscenes_sweep(frame: Frame, frame_id: str) -> Iterator[Outgoing]:
    """A sweep and its lidarseg classes."""
    sweep = values.nuscenes_sweep(frame.sweep)
    columns = dict(zip(("x", "y", "z", "intensity"), sweep[:, :4].T, strict=True))
    ring = {"ring": sweep[:, 4].astype("<u2")}
    yield messages.points(f"/{frame_id}/points", frame_id, frame.stamp_ns, columns | ring)
    classes = {"label": values.lookup("lidarseg")[frame.sweep.class_id].astype("<u2")}
    labelled = {axis: columns[axis] for axis in "xyz"} | classes
    yield messages.points(TRUE_POINTS, frame_id, frame.stamp_ns, labelled)


def boxes(scene: Scene, frame: Frame) -> list[Outgoing]:
    """Annotated objects as the converter reads them from the tables; nothing without any."""
    found = [
        Box(frame.stamp_ns, a.T_global_box, (length, width, height), a.category, a.instance)
        for a in values.annotations(scene, frame)
        for width, length, height in [a.size_wlh_m]
    ]
    return list(markers(found, frame.stamp_ns)) if found else []


def kitti_voxels(frame: Frame, scheme: VoxelScheme) -> Outgoing:
    """Sensed truth in the velodyne's frame."""
    raw = values.kitti_voxels(frame.voxels)
    labels = training_voxels(raw.labels, raw.invalid, scheme)
    truth = VoxelTruth(GRID, labels != IGNORE, labels, scheme.label_map)
    return messages.voxels(TRUE_VOXELS, truth, frame.stamp_ns)


def occ3d_voxels(frame: Frame) -> tuple[Outgoing, Outgoing]:
    """Sensed truth in the ego frame, with both masks."""
    voxels = values.occ3d_voxels(frame.voxels)
    truth = VoxelTruth(OCC3D_GRID, voxels.mask_lidar == 1, voxels.semantics, OCC3D_LABELS)
    seen = VoxelTruth(OCC3D_GRID, voxels.mask_camera == 1)
    return (
        messages.voxels(TRUE_VOXELS, truth, frame.stamp_ns),
        messages.voxels(CAMERA_MASK, seen, frame.stamp_ns),
    )


def hashes(frame: Frame) -> Outgoing:
    """What the frame must be made of, whatever its images are packed in."""
    return Outgoing(HASHES, TEXT, {"data": json.dumps(frame_digests(frame))})
