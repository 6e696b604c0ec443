"""Tiny data sets in their real layouts: skew calibration as published, random pixels and points."""

import numpy as np

from occ_perception.geometry.transforms import inverse, rotation_rpy, transform
from occ_training.convert.content import rigid
from occ_training.convert.kitti360_rig import Calibration
from occ_training.convert.trees.kitti import KittiFrame, KittiSequenceWriter, RawVoxels
from occ_training.convert.trees.kitti360 import Kitti360Frame, Kitti360Writer, SscbenchWriter
from occ_training.convert.trees.kitti_raw import RawFrame, write_day, write_drive
from occ_training.convert.trees.nuscenes import (
    Annotation,
    Key,
    NuScenesWriter,
    Occ3dVoxels,
    SensorFile,
)

START_NS = 1_893_456_000_123_456_789  # 2030, with digits that floats would lose
PERIOD_NS = 103_800_001
WIDTH, HEIGHT = 306, 92

TR = np.array(
    [
        [-0.00185774, -0.99996595, -0.00803998, -0.00478403],
        [-0.00648147, 0.00805186, -0.99994661, -0.07337429],
        [0.99997731, -0.00180553, -0.00649620, -0.33399681],
    ]
)
FOURTH = ((0, 0, 0), (-379.8145, 0, 0), (46.88783, 0.1178601, 0.006203223),
          (-333.4597, 1.930130, 0.003318498))  # fmt: skip


def kitti_calibration(scale=0.25):
    """P0 to P3 and Tr of sequences 04 to 12 for images of `scale` times their size."""
    S = np.array([[scale, 0, 0.5 * scale - 0.5], [0, scale, 0.5 * scale - 0.5], [0, 0, 1]])
    K = np.array([[707.0912, 0, 601.8873], [0, 707.0912, 183.1104], [0, 0, 1]])
    rows = {f"P{i}": S @ np.column_stack([K, column]) for i, column in enumerate(FOURTH)}
    return rows | {"Tr": TR}


def base_pose(frame):
    """A drive with turns about all axes."""
    T = transform((0.9 * frame, 0.05 * frame**2, 0.01 * frame))
    T[:3, :3] = rotation_rpy(0.01 * frame, -0.02 * frame, 0.1 * frame)
    return T


def raw_voxels(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((256, 256, 32), np.uint16)
    labels[rng.random(labels.shape) < 0.1] = 40
    labels[10, 20, 3], labels[30, 40, 5], labels[31, 40, 5] = 252, 99, 71
    invalid = rng.random(labels.shape) < 0.3
    invalid[10, 20, 3] = invalid[31, 40, 5] = False
    return RawVoxels(labels, invalid, invalid, labels > 0)


def random_sweep(rng, count=50, columns=4):
    points = rng.uniform(-20, 20, (count, columns)).astype(np.float32)
    points[:, 3] = rng.uniform(0, 0.99, count)
    return points


def grey(rng, height=HEIGHT, width=WIDTH):
    return rng.integers(0, 256, (height, width), dtype=np.uint8)


def rgb(rng, height=HEIGHT, width=WIDTH):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def kitti_frames(count=6, voxels=True):
    rng = np.random.default_rng(1)
    T_base_cam = transform((0, 0, 1.73)) @ inverse(rigid(TR))
    frames = []
    for i in range(count):
        images = {f"image_{k}": grey(rng) if k < 2 else rgb(rng) for k in range(4)}
        frames.append(
            KittiFrame(
                time_ns=i * PERIOD_NS,
                T_first_camera=inverse(T_base_cam) @ base_pose(i) @ T_base_cam,
                images=images,
                sweep=random_sweep(rng),
                point_labels=rng.choice([10, 40, 252], 50).astype(np.uint32) | (3 << 16),
                voxels=raw_voxels(i) if voxels and i % 5 == 0 else None,
            )
        )
    return frames


def write_kitti(root, frames, sequence="30"):
    writer = KittiSequenceWriter(root, sequence, kitti_calibration())
    for frame in frames:
        writer.add(frame)
    writer.close()
    return root / "dataset"


RAW_R_RECT = rotation_rpy(0.01, -0.02, 0.015)
RAW_VELO = rigid(TR) @ transform((0.01, 0.02, -0.03))
RAW_IMU = transform((-0.81, 0.32, -0.80))


def raw_frames(count=4):
    rng = np.random.default_rng(2)
    frames = []
    for i in range(count):
        t = START_NS + i * PERIOD_NS
        images = {f"image_0{k}": grey(rng) if k < 2 else rgb(rng) for k in range(4)}
        frames.append(
            RawFrame(
                images=images,
                image_stamps_ns={name: t + n for n, name in enumerate(images)},
                sweep=random_sweep(rng),
                sweep_ns=(t - 50_000_000, t + 3, t + 50_000_006),
                T_enu_imu=base_pose(i),
                oxts_ns=t + 7,
                motion={"ax": 1.0, "ay": 2.0, "az": 9.8, "wx": 0.1, "wy": 0.2, "wz": 0.3},
            )
        )
    return frames


def write_raw(root, frames):
    day = root / "2030_01_01"
    cameras = {}
    for i in range(4):
        cameras[f"S_rect_0{i}"] = np.array([WIDTH, HEIGHT])
        cameras[f"R_rect_0{i}"] = RAW_R_RECT
        cameras[f"P_rect_0{i}"] = kitti_calibration()[f"P{i}"]
    write_day(day, cameras, RAW_VELO, RAW_IMU)
    write_drive(day / "2030_01_01_drive_9000_sync", frames)
    return root


# What KITTI-360's files say, with the image size of a small rig.
PERSPECTIVE = """S_rect_00: 352.000000 94.000000
R_rect_00: 0.999974 -0.007141 -0.000089 0.007141 0.999969 -0.003247 0.000112 0.003247 0.999995
P_rect_00: 138.13856525 0 170.13736325 0 0 138.13856525 59.31738725 0 0 0 1 0
S_rect_01: 352.000000 94.000000
R_rect_01: 0.999778 -0.012115 0.017222 0.012059 0.999922 0.003351 -0.017261 -0.003143 0.999846
P_rect_01: 138.13856525 0 170.13736325 -82.07968375 0 138.13856525 59.31738725 0 0 0 1 0
"""
CAM_TO_POSE = """image_00: 0.0371783278 -0.0986182135 0.9944306009 1.5752681039 0.9992675562 \
-0.0053553387 -0.0378902567 0.0043914093 0.0090621821 0.9951109327 0.0983468786 -0.6500000000
image_01: 0.0194000864 -0.1051529641 0.9942668106 1.5977241400 0.9997374956 -0.0100836652 \
-0.0205732716 0.5981494900 0.0121891942 0.9944049345 0.1049297370 -0.6488433108
image_02: 0.9995185086 0.0041276589 -0.0307524527 0.7264036936 -0.0307926666 0.0100608424 \
-0.9994751579 -0.1499658517 -0.0038160970 0.9999408692 0.0101830998 -1.0686400091
image_03: -0.9996821702 0.0005703407 -0.0252038325 0.7016842127 -0.0252033830 0.0007820814 \
0.9996820384 0.7463650950 0.0005898709 0.9999995315 -0.0007674583 -1.0751978255
"""
CAM_TO_VELO = (
    "0.04307104361 -0.08829286498 0.995162929 0.8043914418 -0.999004371 0.007784614041 "
    "0.04392796942 0.2993489574 -0.01162548558 -0.9960641394 -0.08786966659 -0.1770225824\n"
)
MEI = """%YAML:1.0
---
model_type: MEI
camera_name: image_02
image_width: 175
image_height: 175
mirror_parameters:
   xi: 2.2134047507854890e+00
distortion_parameters:
   k1: 1.6798235660113681e-02
   k2: 1.6548773243373522e+00
   p1: 4.2223943394772046e-04
   p2: 4.2462134260997584e-04
projection_parameters:
   gamma1: 1.670402603e+02
   gamma2: 1.669735419e+02
   u0: 8.9180e+01
   v0: 8.7783e+01
"""
DRIVE = "2013_05_28_drive_9000_sync"


def write_calibration(folder):
    folder.mkdir(parents=True)
    (folder / "perspective.txt").write_text(PERSPECTIVE)
    (folder / "calib_cam_to_pose.txt").write_text(CAM_TO_POSE)
    (folder / "calib_cam_to_velo.txt").write_text(CAM_TO_VELO)
    for number in ("02", "03"):
        (folder / f"image_{number}.yaml").write_text(MEI)
    return Calibration(folder)


def kitti360_frames(calibration, count=6, gap=(2, 3)):
    rng = np.random.default_rng(3)
    T_base_velo = transform((0, 0, 1.73))
    frames = []
    for i in range(count):
        images = {name: rgb(rng, 94, 352) for name in ("image_00", "image_01")}
        images |= {name: rgb(rng, 175, 175) for name in ("image_02", "image_03")}
        T_world_velo = base_pose(i) @ T_base_velo
        known = i not in gap
        frames.append(
            Kitti360Frame(
                stamp_ns=START_NS + i * PERIOD_NS,
                images=images,
                sweep=random_sweep(rng),
                T_world_pose=T_world_velo @ calibration.T_velodyne_pose if known else None,
                T_world_camera=T_world_velo @ calibration.T_velodyne_left if known else None,
                semantic=rng.integers(0, 34, (94, 352), dtype=np.uint8),
                instance=rng.integers(0, 34000, (94, 352), dtype=np.uint16),
                voxels=raw_voxels(i) if i in (0, 5) else None,
            )
        )
    return frames


def write_kitti360(root, frames, *, sscbench=False):
    source = root.parent / f"{root.name}_calibration"
    if not source.is_dir():
        write_calibration(source)
    writer = (SscbenchWriter if sscbench else Kitti360Writer)(root, DRIVE, source)
    for frame in frames:
        writer.add(frame)
    writer.close()
    return root


NU_SENSORS = {
    "CAM_FRONT": (
        transform((1.701, 0.016, 1.511), (-0.503, 0.4998, -0.4974, 0.4998)),
        np.array([[126.6, 0, 81.6], [0, 126.6, 49.1], [0, 0, 1]]),
    ),
    "CAM_BACK": (
        transform((0.028, 0.003, 1.579), (-0.4974, -0.4942, 0.5045, 0.5038)),
        np.array([[80.9, 0, 82.9], [0, 80.9, 48.2], [0, 0, 1]]),
    ),
    "LIDAR_TOP": (transform((0.944, 0, 1.84), (-0.0065, 0.0106, -0.7063, 0.7078)), None),
}
DELAY_US = {"CAM_FRONT": -35_500, "CAM_BACK": -10_400, "LIDAR_TOP": 0}


def flat_pose(time_s):
    """nuScenes: z is 0 while roll and pitch stay."""
    T = base_pose(10 * time_s)
    T[2, 3] = 0
    return T


def nuscenes_keys(count=3):
    rng = np.random.default_rng(4)
    start_us = START_NS // 1000
    keys = []
    for i in range(count):
        stamp_us = start_us + i * 500_000
        files = []
        for step, is_key in ((0, True), (1, False)):
            for channel in NU_SENSORS:
                us = stamp_us + DELAY_US[channel] + step * 100_000
                camera = channel != "LIDAR_TOP"
                files.append(
                    SensorFile(
                        channel=channel,
                        stamp_us=us,
                        T_global_ego=flat_pose((us - start_us) / 1e6),
                        is_key=is_key,
                        image=rgb(rng, 90, 160) if camera else None,
                        sweep=None if camera else nuscenes_sweep(rng),
                        lidarseg=rng.integers(0, 32, 40, dtype=np.uint8)
                        if is_key and not camera
                        else None,
                    )
                )
        box = Annotation(0, "vehicle.car", transform((10.0 + i, 2, 1)), (1.9, 4.5, 1.6), 12)
        shape = (200, 200, 16)
        voxels = Occ3dVoxels(
            rng.integers(0, 18, shape, dtype=np.uint8),
            rng.integers(0, 2, shape, dtype=np.uint8),
            rng.integers(0, 2, shape, dtype=np.uint8),
        )
        keys.append(Key(stamp_us, files, [box], voxels))
    return keys


def nuscenes_sweep(rng):
    sweep = random_sweep(rng, 40, 5)
    sweep[:, 4] = rng.integers(0, 32, 40)
    return sweep


def write_nuscenes(root, keys, name="scene-9000"):
    writer = NuScenesWriter(root)
    writer.add_scene(name, "n900-2030-01-01-00-00-00+0000", NU_SENSORS, keys, "val")
    writer.close()
    return root
