"""The procedural world in the real layouts of the data sets that it imitates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from occ_perception.core.errors import ConfigError
from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.convert import world_values as values
from occ_training.convert.content import T_BASE_VELODYNE
from occ_training.convert.trees.files import numbers, write_lines, write_table
from occ_training.convert.trees.kitti import KittiFrame, KittiSequenceWriter
from occ_training.convert.trees.kitti360 import Kitti360Frame, Kitti360Writer, SscbenchWriter
from occ_training.convert.trees.kitti_raw import RawFrame, write_day, write_drive
from occ_training.convert.trees.nuscenes import Key, NuScenesWriter, SensorFile
from occ_training.world.frames import Frame
from occ_training.world.lenses import Mei
from occ_training.world.rigs import K360_CAM_TO_POSE, K360_CAM_TO_VELO, K360_R_RECT
from occ_training.world.scene import Scene

Frames = Iterable[Frame]
LOG = "n900-2030-01-01-00-00-00+0000"
POSE_GAP = (3, 4)  # frames of KITTI-360 without a pose, as where the car stands


def write_semantickitti(scene: Scene, frames: Frames, root: Path, number: int = 30) -> Path:
    """A sequence of `dataset/`; its folder `dataset` comes back."""
    rig = scene.rig
    T_base_cam0 = rig.cameras[0].T_base_cam
    calibration = {f"P{i}": values.projection(camera) for i, camera in enumerate(rig.cameras)}
    calibration["Tr"] = (inverse(T_base_cam0) @ rig.lidar.T_base_lidar)[:3]
    writer = KittiSequenceWriter(root, f"{number:02d}", calibration)
    T_cam0_world = None
    for frame in frames:
        T_world_cam0 = frame.T_world_base @ T_base_cam0
        T_cam0_world = inverse(T_world_cam0) if T_cam0_world is None else T_cam0_world
        writer.add(
            KittiFrame(
                time_ns=frame.stamp_ns - scene.stamp_ns(0.0),
                T_first_camera=T_cam0_world @ T_world_cam0,
                images={c.name: values.picture(frame, c) for c in rig.cameras},
                sweep=values.kitti_sweep(frame.sweep, corrected=True),
                point_labels=values.kitti_point_labels(frame.sweep),
                voxels=frame.voxels and values.kitti_voxels(frame.voxels),
            )
        )
    writer.close()
    return root / "dataset"


def write_kitti_raw(scene: Scene, frames: Frames, root: Path, number: int = 9000) -> Path:
    """A drive of the day 2030_01_01; the IMU is where KITTI has it."""
    rig, day = scene.rig, root / "2030_01_01"
    T_base_cam0, T_base_lidar = rig.cameras[0].T_base_cam, rig.lidar.T_base_lidar
    T_lidar_imu = np.eye(4)
    T_lidar_imu[:3, 3] = (-0.8087, 0.3196, -0.7997)
    cameras: dict[str, object] = {}
    for i, camera in enumerate(rig.cameras):
        cameras[f"S_rect_0{i}"] = np.array([camera.lens.width, camera.lens.height])
        cameras[f"R_rect_0{i}"] = np.eye(3)
        cameras[f"P_rect_0{i}"] = values.projection(camera)
    write_day(day, cameras, inverse(T_base_cam0) @ T_base_lidar, T_lidar_imu)
    half_turn_ns = round(rig.lidar.period_s * 5e8)
    drive = [
        RawFrame(
            images={f"image_0{i}": values.picture(f, c) for i, c in enumerate(rig.cameras)},
            image_stamps_ns={f"image_0{i}": f.stamp_ns for i in range(len(rig.cameras))},
            sweep=values.kitti_sweep(f.sweep, corrected=False),
            sweep_ns=(f.stamp_ns - half_turn_ns, f.stamp_ns, f.stamp_ns + half_turn_ns),
            T_enu_imu=f.T_world_base @ T_base_lidar @ T_lidar_imu,
            oxts_ns=f.stamp_ns,
        )
        for f in frames
    ]
    write_drive(day / f"2030_01_01_drive_{number}_sync", drive)
    return root


def write_kitti360(scene: Scene, frames: Frames, root: Path, number: int = 9000) -> Path:
    """A drive of KITTI-360 with a gap in its poses."""
    return _write_kitti360(Kitti360Writer, scene, frames, root, number)


def write_sscbench(scene: Scene, frames: Frames, root: Path, number: int = 9000) -> Path:
    """The same drive as SSCBench has it: renumbered, with voxels."""
    return _write_kitti360(SscbenchWriter, scene, frames, root, number)


def _write_kitti360(kind: Callable, scene: Scene, frames: Frames, root: Path, number: int) -> Path:
    calibration = root / "calibration"
    write_kitti360_calibration(scene, calibration)
    writer = kind(root, f"2013_05_28_drive_{number}_sync", calibration)
    T_base_pose = T_BASE_VELODYNE @ kitti360_pose_in_velodyne()
    T_base_left = scene.rig.camera("image_00").T_base_cam
    for frame in frames:
        known = frame.index not in POSE_GAP
        base = values.velodyne_base(scene, frame.time_s)
        semantic, instance = values.street_labels(frame, "image_00")
        writer.add(
            Kitti360Frame(
                stamp_ns=frame.stamp_ns,
                images={c.name: values.picture(frame, c) for c in scene.rig.cameras},
                sweep=values.kitti_sweep(frame.sweep, corrected=False),
                T_world_pose=base @ T_base_pose if known else None,
                T_world_camera=frame.T_world_base @ T_base_left if known else None,
                semantic=semantic,
                instance=instance,
                voxels=frame.voxels and values.kitti_voxels(frame.voxels),
            )
        )
    writer.close()
    return root


def kitti360_pose_in_velodyne() -> Matrix:
    """The data set's pose frame, from its published calibration."""
    T_velo_cam, T_pose_cam = np.eye(4), np.eye(4)
    T_velo_cam[:3] = np.reshape(K360_CAM_TO_VELO, (3, 4))
    T_pose_cam[:3] = np.reshape(K360_CAM_TO_POSE["image_00"], (3, 4))
    return T_velo_cam @ np.linalg.inv(T_pose_cam)


def write_kitti360_calibration(scene: Scene, folder: Path) -> None:
    """The five files with the published matrices, for the size of the world's images."""
    perspective: dict[str, object] = {}
    for name in ("image_00", "image_01"):
        camera, number = scene.rig.camera(name), name[-2:]
        perspective[f"S_rect_{number}"] = (camera.lens.width, camera.lens.height)
        perspective[f"R_rect_{number}"] = K360_R_RECT[name]
        perspective[f"P_rect_{number}"] = values.projection(camera)
    write_table(folder / "perspective.txt", perspective)
    write_table(folder / "calib_cam_to_pose.txt", K360_CAM_TO_POSE)
    write_lines(folder / "calib_cam_to_velo.txt", [numbers(K360_CAM_TO_VELO)])
    for name in ("image_02", "image_03"):
        (folder / f"{name}.yaml").write_text(mei_text(name, scene.rig.camera(name).lens), "utf-8")


def mei_text(name: str, lens: Mei) -> str:
    """An `image_0x.yaml` as the data set has it."""
    sections: Mapping[str, Mapping[str, float]] = {
        "mirror_parameters": {"xi": lens.xi},
        "distortion_parameters": {n: getattr(lens, n) for n in ("k1", "k2", "p1", "p2")},
        "projection_parameters": {
            "gamma1": lens.K[0, 0],
            "gamma2": lens.K[1, 1],
            "u0": lens.K[0, 2],
            "v0": lens.K[1, 2],
        },
    }
    lines = ["%YAML:1.0", "---", "model_type: MEI", f"camera_name: {name}"]
    lines += [f"image_width: {lens.width}", f"image_height: {lens.height}"]
    for section, entries in sections.items():
        lines += [f"{section}:", *(f"   {key}: {value:.16e}" for key, value in entries.items())]
    return "".join(f"{line}\n" for line in lines)


def write_nuscenes(scene: Scene, frames: Frames, root: Path, number: int = 9000) -> Path:
    """A scene of nuScenes with Occ3D's voxels; key frames only."""
    rig = scene.rig
    sensors = {c.name: (c.T_base_cam, c.lens.K) for c in rig.cameras}
    writer = NuScenesWriter(root)
    keys = [nuscenes_key(scene, frame) for frame in frames]
    lidar = {rig.lidar.name: (rig.lidar.T_base_lidar, None)}
    writer.add_scene(f"scene-{number}", LOG, sensors | lidar, keys, "val")
    writer.close()
    return root


def nuscenes_key(scene: Scene, frame: Frame) -> Key:
    """A key frame: every file with the stamp and ego pose of its own."""
    files = []
    for camera in scene.rig.cameras:
        time_s = frame.time_s + camera.delay_s
        pose = scene.recorded_pose(time_s)
        rgb = frame.pictures[camera.name].rgb
        files.append(SensorFile(camera.name, scene.stamp_ns(time_s) // 1000, pose, True, rgb))
    lidarseg = values.lookup("lidarseg")[frame.sweep.class_id].astype(np.uint8)
    stamp_us = frame.stamp_ns // 1000
    pose = scene.recorded_pose(frame.time_s)
    sweep = values.nuscenes_sweep(frame.sweep)
    files.append(SensorFile(scene.rig.lidar.name, stamp_us, pose, True, None, sweep, lidarseg))
    voxels = frame.voxels and values.occ3d_voxels(frame.voxels)
    return Key(stamp_us, files, values.annotations(scene, frame), voxels)


WRITERS = {
    "semantickitti": (values.KITTI_RIGS, write_semantickitti),
    "kitti-raw": (values.KITTI_RIGS, write_kitti_raw),
    "kitti360": (("kitti360",), write_kitti360),
    "sscbench": (("kitti360",), write_sscbench),
    "nuscenes": (("nuscenes",), write_nuscenes),
}


def write_tree(layout: str, scene: Scene, frames: Frames, root: Path, number: int) -> Path:
    """Write a scene in a layout.

    Args:
        layout: One of `WRITERS`.
        scene: The scene.
        frames: Its frames, with colour, sweeps and voxels.
        root: Folder of the data set; several scenes of one layout may share it, but nuScenes'.
        number: Sequence, drive or scene, outside of the real ranges.

    Returns:
        What `occ convert` takes as its source.

    Raises:
        ConfigError: No such layout, or the scene's rig is another data set's.
    """
    if layout not in WRITERS:
        raise ConfigError(f"unknown layout '{layout}'; there are: {', '.join(WRITERS)}")
    rigs, write = WRITERS[layout]
    if scene.rig.name not in rigs:
        raise ConfigError(f"layout {layout} needs the rig {rigs[0]}, not {scene.rig.name}")
    return write(scene, frames, root, number)
