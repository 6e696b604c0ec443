"""Calibration of KITTI-360: text files to normalised intrinsics and poses on the vehicle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import CalibrationError
from occ_perception.geometry.fisheye import virtual_rotation
from occ_perception.geometry.rays import normalised_intrinsics

Pose = Float[Tensor, "4 4"]


@dataclass(frozen=True, eq=False)
class Kitti360Calibration:
    """Where KITTI-360's cameras look, as the field systems use them.

    Attributes:
        K: Normalised intrinsics of both perspective cameras, and of the virtual fisheye views.
        T_pose_cam: Poses of cameras 00 and 01 (rectified) and 02 and 03 (virtual views) in the
            vehicle frame of `poses.txt`.
        T_pose_velo: Pose of the LiDAR.
    """

    K: Float[Tensor, "3 3"]
    T_pose_cam: Mapping[str, Pose]
    T_pose_velo: Pose

    def velo_to(self, camera: str) -> Pose:
        """`T_cam_velo` of a camera."""
        return torch.linalg.inv(self.T_pose_cam[camera]) @ self.T_pose_velo


def read_rows(text: str) -> dict[str, list[float]]:
    """Lines `name: numbers` of a calibration file; other lines are skipped."""
    rows: dict[str, list[float]] = {}
    for line in text.splitlines():
        name, _, values = line.partition(":")
        try:
            rows[name.strip()] = [float(value) for value in values.split()]
        except ValueError:
            continue
    return rows


def parse_calibration(
    perspective: str,
    cam_to_pose: str,
    cam_to_velo: str,
    fisheye_view_deg: tuple[float, float] = (-15.0, 0.0),
) -> Kitti360Calibration:
    """Compose the calibration from the texts of its three files.

    Args:
        perspective: `perspective.txt`.
        cam_to_pose: `calib_cam_to_pose.txt`.
        cam_to_velo: `calib_cam_to_velo.txt`.
        fisheye_view_deg: Rotation of the virtual views about x and y; y is mirrored for 03.

    Raises:
        CalibrationError: A row is missing or has the wrong number of values.
    """
    rows, poses = read_rows(perspective), read_rows(cam_to_pose)
    try:
        width, height = (int(side) for side in rows["S_rect_00"])
        projection = torch.tensor(rows["P_rect_00"], dtype=torch.float64).view(3, 4)[:, :3]
        rotations = {i: _rotation(rows[f"R_rect_{i}"]) for i in ("00", "01")}
        about_x, about_y = fisheye_view_deg
        views = {"02": (about_x, about_y), "03": (about_x, -about_y)}
        rotations |= {i: virtual_rotation(*angles).double().T for i, angles in views.items()}
        mounted = {i: _pose(poses[f"image_{i}"]) for i in rotations}
        T_velo_cam = _pose([float(value) for value in cam_to_velo.split()])
    except (KeyError, RuntimeError, ValueError) as error:
        raise CalibrationError(f"KITTI-360 calibration is incomplete: {error}") from error
    T_pose_cam = {i: mounted[i] @ _rigid(rotations[i].T) for i in rotations}
    T_rect00_velo = _rigid(rotations["00"]) @ torch.linalg.inv(T_velo_cam)
    K = torch.from_numpy(normalised_intrinsics(projection.numpy(), width, height))
    return Kitti360Calibration(
        K.float(),
        {i: T.float() for i, T in T_pose_cam.items()},
        (T_pose_cam["00"] @ T_rect00_velo).float(),
    )


def _rotation(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(3, 3)


def _pose(values: Sequence[float]) -> Tensor:
    T = torch.eye(4, dtype=torch.float64)
    T[:3] = torch.tensor(values, dtype=torch.float64).view(3, 4)
    return T


def _rigid(rotation: Tensor) -> Tensor:
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = rotation
    return T
