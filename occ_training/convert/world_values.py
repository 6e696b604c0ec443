"""What data sets call things that the procedural world knows by its own names."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.convert.content import T_BASE_VELODYNE
from occ_training.convert.trees.kitti import RawVoxels
from occ_training.convert.trees.nuscenes import Annotation, Occ3dVoxels
from occ_training.data.semantickitti_labels import IGNORE
from occ_training.world.annotations import instance_boxes
from occ_training.world.classes import Class, lookup
from occ_training.world.frames import Frame, VoxelTruth
from occ_training.world.lidar import LidarSweep
from occ_training.world.rigs import RigCamera
from occ_training.world.scene import Scene

KITTI_RIGS = ("kitti", "kitti00")
RGB_TO_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as image libraries convert
CATEGORIES: dict[int, str] = {
    Class.CAR: "vehicle.car",
    Class.BICYCLE: "vehicle.bicycle",
    Class.BICYCLIST: "vehicle.bicycle",
    Class.MOTORCYCLE: "vehicle.motorcycle",
    Class.MOTORCYCLIST: "vehicle.motorcycle",
    Class.TRUCK: "vehicle.truck",
    Class.BUS: "vehicle.bus.rigid",
    Class.CONSTRUCTION_VEHICLE: "vehicle.construction",
    Class.TRAILER: "vehicle.trailer",
    Class.PERSON: "human.pedestrian.adult",
}
STREET_OBJECTS = 1000  # Cityscapes' instance ids: label * 1000 + instance


class PointClasses(NamedTuple):
    """Raw SemanticKITTI ids of things that stand and of things that move."""

    still: npt.NDArray[np.uint16]
    moving: npt.NDArray[np.uint16]


@cache
def point_classes() -> PointClasses:
    """Tables from the world's ids."""
    return PointClasses(lookup("semantickitti_raw"), lookup("semantickitti_moving"))


def picture(frame: Frame, camera: RigCamera) -> npt.NDArray[np.uint8]:
    """The image as the data set stores it: `[H, W]` for grey cameras, else `[H, W, 3]` RGB."""
    rgb = frame.pictures[camera.name].rgb
    return np.rint(rgb @ RGB_TO_GREY).astype(np.uint8) if camera.grey else rgb


def projection(camera: RigCamera) -> Matrix:
    """`[3, 4]` published projection for the size of the world's images."""
    return camera.lens.K @ np.linalg.inv(camera.P[:, :3]) @ camera.P


def velodyne_base(scene: Scene, time_s: float) -> Matrix:
    """Pose in the world of the base 1.73 m below the velodyne, wherever a rig carries it."""
    T_base_lidar = scene.rig.lidar.T_base_lidar
    return np.array(scene.pose(time_s)) @ T_base_lidar @ inverse(T_BASE_VELODYNE)


def kitti_sweep(sweep: LidarSweep, *, corrected: bool) -> npt.NDArray[np.float32]:
    """`[n, 4]` x, y, z, reflectance; motion-corrected as in KITTI odometry, or as measured."""
    points = sweep.corrected if corrected else sweep.points
    return np.column_stack([points, sweep.reflectance]).astype(np.float32)


def kitti_point_labels(sweep: LidarSweep) -> npt.NDArray[np.uint32]:
    """Class in the low and instance in the high half."""
    tables = point_classes()
    classes = np.where(
        sweep.body > 0, tables.moving[sweep.class_id], tables.still[sweep.class_id]
    ).astype(np.uint32)
    return classes | sweep.instance_id.astype(np.uint32) << 16


def kitti_voxels(truth: VoxelTruth) -> RawVoxels:
    """Sensed truth as SemanticKITTI's raw files have it."""
    sensed, tables = truth.sensed, point_classes()
    labels = np.where(sensed.moving, tables.moving[sensed.labels], tables.still[sensed.labels])
    unknown = sensed.labels == IGNORE
    labels[unknown] = 0
    return RawVoxels(
        labels.astype(np.uint16), sensed.invalid | unknown, sensed.occluded, sensed.scan
    )


def occ3d_voxels(truth: VoxelTruth) -> Occ3dVoxels:
    """Sensed truth as Occ3D has it: what nobody saw is called free, and masked."""
    sensed = truth.sensed
    known = np.where(sensed.labels == IGNORE, np.uint8(Class.FREE), sensed.labels)
    return Occ3dVoxels(
        lookup("occ3d")[known].astype(np.uint8),
        truth.lidar_mask.astype(np.uint8),
        truth.camera_mask.astype(np.uint8),
    )


def nuscenes_sweep(sweep: LidarSweep) -> npt.NDArray[np.float32]:
    """`[n, 5]` x, y, z, intensity 0..255, ring."""
    intensity = np.rint(255 * sweep.reflectance)
    return np.column_stack([sweep.points, intensity, sweep.ring]).astype(np.float32)


def annotations(scene: Scene, frame: Frame) -> list[Annotation]:
    """Boxes of the things that the sweep hit, in the recorded global frame, whose ego z is 0."""
    hits = np.bincount(frame.sweep.instance_id, minlength=len(scene.instances) + 1)
    T_recorded_true = scene.recorded_pose(frame.time_s) @ inverse(frame.T_world_base)
    boxes = []
    for box in instance_boxes(scene, frame.time_s):
        if hits[box.instance_id] and box.class_id in CATEGORIES:
            length, width, height = box.size_m
            boxes.append(
                Annotation(
                    instance=box.instance_id,
                    category=CATEGORIES[box.class_id],
                    T_global_box=T_recorded_true @ box.T_world_box,
                    size_wlh_m=(width, length, height),
                    lidar_points=int(hits[box.instance_id]),
                )
            )
    return boxes


def street_labels(
    frame: Frame, camera: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Cityscapes' label ids `[H, W]` and instances, label * 1000 + instance, of a picture."""
    render = frame.pictures[camera]
    labels = lookup("cityscapes")[render.class_id]
    instance = render.instance_id % STREET_OBJECTS
    combined = np.where(render.instance_id > 0, labels * STREET_OBJECTS + instance, labels)
    return labels.astype(np.uint8), combined.astype(np.uint16)
