"""Adapters of KITTI-360's calibration, fisheye views, LiDAR depth maps, sampler and pictures."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from occ_perception.eval.depth_maps import kitti360_depth, kitti_raw_depth
from occ_perception.geometry.fisheye import MeiCamera, pinhole_grid, resample, virtual_rotation
from occ_perception.geometry.rays import normalised_intrinsics
from occ_perception.geometry.transforms import inverse
from occ_training.convert.kitti360_rig import Calibration
from parity.cases import Array, Case, Weights
from parity.compare import Check, Rule, absolute, exact
from parity.vipocc_net_cases import SIZE

KITTI_RAW_SIZE = (375, 1242)  # 2011_09_26


def raw_image(size: int = 1400) -> Tensor:
    """The case's picture on the fisheye sensor."""
    v, u = np.indices((size, size), dtype=np.float64)
    image = np.stack(
        [0.5 + 0.5 * np.sin(u / 37) * np.cos(v / 53), 0.5 + 0.5 * u / size, 0.5 + 0.5 * v / size]
    )
    return torch.from_numpy(image.astype(np.float32))[None]


def depth_arrays(name: str, case: Case, depth: Array) -> dict[str, Array]:
    """Sparse pixels of a depth map, and its values at the stored pixels."""
    rows, columns = case.stored[f"{name}_idx"].astype(np.int64)
    return {
        f"{name}_idx": np.stack(depth.nonzero()).astype(np.int16),
        f"{name}_val": depth[rows, columns],
    }


def lidar_depths(case: Case, K: Array, T_cam_velo: dict[str, Array]) -> dict[str, Array]:
    points = case.stored["lidar_points"]
    outputs: dict[str, Array] = {}
    for side, camera in (("left", "00"), ("right", "01")):
        P = (K @ T_cam_velo[camera][:3]).astype(np.float32)
        outputs |= depth_arrays(f"depth_{side}", case, kitti360_depth(points, P, SIZE))
    raw = kitti_raw_depth(points, case.stored["kraw_P"], KITTI_RAW_SIZE)
    return outputs | depth_arrays("kraw", case, raw)


def geometry(case: Case, weights: Weights) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in case.value("calibration_files").items():
            (Path(folder) / name).write_text(text)
        return rig_geometry(case, Calibration(Path(folder)))


def rig_geometry(case: Case, calibration: Calibration) -> dict[str, Any]:
    about_y, about_x = case.value("fisheye_rotation")
    width, height = map(int, calibration.matrix("S_rect_00", (2,)))
    K = normalised_intrinsics(calibration.matrix("P_rect_00", (3, 4))[:, :3], width, height)
    T_pose_velo = inverse(calibration.T_velodyne_pose)
    outputs: dict[str, Any] = {"K": K, "T_velo_to_pose": T_pose_velo}
    T_cam_velo = {}
    for camera in ("00", "01"):
        T = calibration.T_pose_camera(camera) @ calibration.T_camera_rectified(camera)
        T_cam_velo[camera] = inverse(T) @ T_pose_velo
        outputs |= {f"T_{camera}_to_pose": T, f"T_velo_to_rect{camera}": T_cam_velo[camera]}
    for camera, angle in (("02", about_y), ("03", -about_y)):
        R = virtual_rotation(about_x, angle)
        T_camera_view = np.eye(4)
        T_camera_view[:3, :3] = R
        fisheye = MeiCamera.from_calibration(case.spec["fisheye_yaml"][f"image_{camera}.yaml"])
        grid = pinhole_grid(fisheye, R, torch.from_numpy(K).float(), SIZE)
        outputs[f"T_{camera}_to_pose"] = calibration.T_pose_camera(camera) @ T_camera_view
        outputs[f"R_{camera}"] = R
        outputs[f"fisheye{camera}_grid"] = grid[::12, ::16]
        outputs[f"fisheye{camera}_img"] = resample(raw_image(), grid)[0, :, ::8, ::8]
    return outputs | lidar_depths(case, K, T_cam_velo)


def geometry_rule(case: Case, name: str) -> Rule:
    """Masks identical, depths to a millimetre, the rest to the case's tolerance."""
    if name.endswith("_idx"):
        return exact
    depth = name.endswith("_val")
    return absolute(1e-3 if depth else case.numbers(r"^([\d.e-]+)", "tolerance")[0])


CASES: dict[str, Check] = {
    "geometry": Check(geometry, geometry_rule, inputs=frozenset({"lidar_points", "kraw_P"})),
}
