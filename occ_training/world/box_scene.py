"""A bag of a computed street: stereo images, calibration, transforms and voxel truth.

The rig is KITTI's of sequences 04 to 12. Its colour pair is made an exact ROS stereo pair: the
left image has P = [K | 0], the right one P = [K | -f b 0 0] with the b of the published P2 and P3,
and what P2 says beyond that (camera 2 is not camera 0) is in the transforms. The few millimetres
by which the real pair is off are left out, because a ROS stereo pair cannot state them.

The marked cube is pure red in every image, 2 m wide, 18.3 m ahead of the first frame and 3.9 m to
the left. Truth is the exact kind: solids are solid all through, and empty voxels that the left
camera does not see in that very frame are unknown, not free.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_perception.bags.topics import TopicQos
from occ_perception.bags.writer import BagWriter
from occ_perception.core.camera import Camera
from occ_perception.core.errors import ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap, load_label_map
from occ_perception.geometry.transforms import (
    inverse,
    quaternion_from_matrix,
    rotation_rpy,
    transform,
)
from occ_training.world.box_street import Street, build_street
from occ_training.world.box_view import View, render
from occ_training.world.boxes import fill

Matrix = npt.NDArray[np.float64]

WORLD_VERSION = "boxes-1"
START_NS = 1_893_456_000 * 10**9  # 2030-01-01: a stamp of a computed world is recognisable
PERIOD_NS = 100_000_000
STEP_M, TURN_RAD = 0.9, 0.004  # per frame; the turn keeps axes of world and robot apart

LEFT, RIGHT = "/kitti/left", "/kitti/right"
VOXELS, LABEL_MAP = "/ground_truth/voxels", "/ground_truth/label_map"
WORLD_FRAME, BASE_FRAME, LIDAR_FRAME = "odom", "base_link", "velodyne"
LIDAR_HEIGHT_M = 1.73
LATCHED = TopicQos(reliable=True, latched=True, depth=1)

# KITTI odometry, calib.txt of sequences 04 to 12.
WIDTH, HEIGHT = 1226, 370
K: Matrix = np.array([[707.0912, 0.0, 601.8873], [0.0, 707.0912, 183.1104], [0.0, 0.0, 1.0]])
P2_COLUMN = np.array([46.88783, 0.1178601, 0.006203223])
P3_COLUMN = np.array([-333.4597, 1.930130, 0.003318498])
T_CAM0_VELO: Matrix = np.array(
    [
        [-0.00185774, -0.99996595, -0.00803998, -0.00478403],
        [-0.00648147, 0.00805186, -0.99994661, -0.07337429],
        [0.99997731, -0.00180553, -0.00649620, -0.33399681],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
GRID = GridSpec((0.0, -25.6, -2.0), (0.2, 0.2, 0.2), (256, 256, 32), LIDAR_FRAME)


@dataclass(frozen=True, eq=False)
class Rig:
    """The stereo pair in the base frame; both cameras look the same way."""

    left: Camera
    right: Camera


def kitti_rig(scale: float = 1.0) -> Rig:
    """The rig with images of `scale` times KITTI's size.

    Raises:
        ConfigError: The scale is not in (0, 1].
    """
    if not 0 < scale <= 1:
        raise ConfigError(f"scale {scale} of the images must be above 0 and at most 1")
    T_cam2_cam0 = transform(np.linalg.inv(K) @ P2_COLUMN)
    T_base_velo = transform((0.0, 0.0, LIDAR_HEIGHT_M))
    T_base_left = T_base_velo @ inverse(_rigid(T_cam2_cam0 @ T_CAM0_VELO))
    baseline_m = (P2_COLUMN - P3_COLUMN)[0] / K[0, 0]
    size = round(WIDTH * scale), round(HEIGHT * scale)
    cameras = []
    for name, offset_m in (("left", 0.0), ("right", baseline_m)):
        P = np.hstack([K, [[-K[0, 0] * offset_m], [0.0], [0.0]]])
        pose = T_base_left @ transform((offset_m, 0.0, 0.0))
        cameras.append(Camera(name, P, WIDTH, HEIGHT, pose).resized(*size))
    return Rig(*cameras)


def pose_of_base(frame: int) -> Matrix:
    """Pose of the base in the world at a frame, `[4, 4]`: a slow curve to the left."""
    yaw = TURN_RAD * frame
    T = transform((STEP_M * frame, 0.5 * STEP_M * TURN_RAD * frame**2, 0.0))
    T[:3, :3] = rotation_rpy(0.0, 0.0, yaw)
    return T


def view_of(street: Street, camera: Camera, frame: int) -> View:
    """What a camera of the rig sees at a frame."""
    pose = pose_of_base(frame) @ camera.T_base_cam
    return render(street, camera.K, pose, camera.width, camera.height)


def voxel_truth(
    street: Street, left: Camera, seen: View, frame: int, labels: LabelMap
) -> npt.NDArray[np.uint8]:
    """Class ids `[256, 256, 32]` in the LiDAR's frame; empty voxels out of sight are unknown."""
    T_base_velo = transform((0.0, 0.0, LIDAR_HEIGHT_M))
    voxels = fill(street.boxes, GRID, pose_of_base(frame) @ T_base_velo)
    T_cam_velo = inverse(left.T_base_cam) @ T_base_velo
    hidden = (voxels == labels.free_id) & ~_in_sight(left, T_cam_velo, seen)
    voxels[hidden] = labels.unknown_id
    return voxels


def write_box_bag(
    path: str | Path,
    frames: int = 6,
    scale: float = 1.0,
    seed: int = 7,
    *,
    overwrite: bool = False,
) -> None:
    """Write the street of a seed as a bag.

    Args:
        path: Folder of the new MCAP bag.
        frames: Number of stereo pairs, 10 per second.
        scale: Size of the images relative to 1226 x 370; the calibration follows.
        seed: Layout, colours and textures.
        overwrite: Replace a bag that is there.

    Raises:
        BagError: The bag cannot be written.
        ConfigError: No frame or an impossible scale was asked for.
    """
    if frames < 1:
        raise ConfigError(f"{frames} frames make no bag; ask for 1 or more")
    labels = load_label_map("semantickitti")
    street, rig = build_street(seed, labels), kitti_rig(scale)
    with BagWriter(path, overwrite=overwrite) as bag:
        _write_static(bag, rig, labels)
        for frame in range(frames):
            stamp_ns = START_NS + frame * PERIOD_NS
            _write_pose(bag, pose_of_base(frame), stamp_ns)
            left = view_of(street, rig.left, frame)
            _write_camera(bag, LEFT, rig.left, left, stamp_ns)
            _write_camera(bag, RIGHT, rig.right, view_of(street, rig.right, frame), stamp_ns)
            voxels = voxel_truth(street, rig.left, left, frame, labels)
            _write_voxels(bag, voxels, labels, stamp_ns)


def _rigid(T: Matrix) -> Matrix:
    """The same with a rotation that is orthonormal beyond the file's eight digits."""
    out = transform(T[:3, 3])
    u, _, v = np.linalg.svd(T[:3, :3])
    out[:3, :3] = u @ v
    return out


def _in_sight(camera: Camera, T_cam_grid: Matrix, seen: View) -> npt.NDArray[np.bool_]:
    """Voxels whose centre is in the image and not behind what the image shows there."""
    x, y, z = (GRID.axis_centers(axis).astype(np.float32) for axis in range(3))
    M = (camera.K @ T_cam_grid[:3]).astype(np.float32)
    across, down, depth = (
        (row[0] * x + row[3])[:, None, None] + (row[1] * y)[:, None] + row[2] * z for row in M
    )
    front = depth > 0.1
    depth = np.where(front, depth, 1)
    u = np.rint(across / depth).clip(-1, camera.width).astype(np.int32)
    v = np.rint(down / depth).clip(-1, camera.height).astype(np.int32)
    inside = front & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    half_diagonal_m = 0.5 * float(np.linalg.norm(GRID.voxel_size_m))
    inside[inside] = depth[inside] <= seen.depth_m[v[inside], u[inside]] + half_diagonal_m
    return inside


def _time(stamp_ns: int) -> dict[str, int]:
    return {"sec": stamp_ns // 10**9, "nanosec": stamp_ns % 10**9}


def _header(stamp_ns: int, frame_id: str) -> dict[str, object]:
    return {"stamp": _time(stamp_ns), "frame_id": frame_id}


def _transform(T: Matrix, stamp_ns: int, parent: str, child: str) -> dict[str, object]:
    pose = {
        "translation": dict(zip("xyz", T[:3, 3].tolist(), strict=True)),
        "rotation": dict(zip("xyzw", quaternion_from_matrix(T[:3, :3]).tolist(), strict=True)),
    }
    return {"header": _header(stamp_ns, parent), "child_frame_id": child, "transform": pose}


def _optical_frame(camera: Camera) -> str:
    return f"camera_{camera.name}_optical"


def _write_static(bag: BagWriter, rig: Rig, labels: LabelMap) -> None:
    velodyne = transform((0.0, 0.0, LIDAR_HEIGHT_M))
    transforms = [_transform(velodyne, START_NS, BASE_FRAME, LIDAR_FRAME)]
    for camera in (rig.left, rig.right):
        pose = inverse(velodyne) @ camera.T_base_cam
        transforms.append(_transform(pose, START_NS, LIDAR_FRAME, _optical_frame(camera)))
    bag.write_message("/tf_static", "tf2_msgs/msg/TFMessage", START_NS, {"transforms": transforms})
    bag.add_topic(LABEL_MAP, "occ_msgs/msg/LabelMap", qos=LATCHED)
    message = {
        "header": _header(START_NS, ""),
        "name": labels.name,
        "ids": labels.ids,
        "names": labels.names,
        "colors_rgb": np.array(labels.colors_rgb, np.uint8).ravel(),
        "free_id": labels.free_id,
        "unknown_id": labels.unknown_id,
        "blocking_ids": labels.blocking_ids,
    }
    bag.write_message(LABEL_MAP, "occ_msgs/msg/LabelMap", START_NS, message)


def _write_pose(bag: BagWriter, T_world_base: Matrix, stamp_ns: int) -> None:
    message = {"transforms": [_transform(T_world_base, stamp_ns, WORLD_FRAME, BASE_FRAME)]}
    bag.write_message("/tf", "tf2_msgs/msg/TFMessage", stamp_ns, message)


def _write_camera(bag: BagWriter, topic: str, camera: Camera, view: View, stamp_ns: int) -> None:
    header = _header(stamp_ns, _optical_frame(camera))
    size = {"width": camera.width, "height": camera.height}
    info = {"distortion_model": "plumb_bob", "d": np.zeros(5), "r": np.eye(3).ravel()}
    info |= {"header": header, "k": camera.K.ravel(), "p": camera.P.ravel(), **size}
    bag.write_message(f"{topic}/camera_info", "sensor_msgs/msg/CameraInfo", stamp_ns, info)
    image = {"header": header, "encoding": "rgb8", "step": 3 * camera.width, **size}
    image |= {"data": view.image.ravel()}
    bag.write_message(f"{topic}/image_rect", "sensor_msgs/msg/Image", stamp_ns, image)


def _write_voxels(
    bag: BagWriter, voxels: npt.NDArray[np.uint8], labels: LabelMap, stamp_ns: int
) -> None:
    size_x, size_y, size_z = GRID.shape
    message = {
        "header": _header(stamp_ns, GRID.frame_id),
        "origin": {
            "position": dict(zip("xyz", GRID.origin_m, strict=True)),
            "orientation": {"w": 1.0},
        },
        "resolution": GRID.voxel_size_m[0],
        "size_x": size_x,
        "size_y": size_y,
        "size_z": size_z,
        "label_map": labels.name,
        "labels": voxels.ravel(),
    }
    bag.write_message(VOXELS, "occ_msgs/msg/VoxelGrid", stamp_ns, message)
