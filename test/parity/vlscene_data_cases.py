"""Adapters of VLScene's data side: pre-processing, losses, metrics and training targets."""

from __future__ import annotations

import numpy as np
import torch

from occ_perception.core.camera import Camera
from occ_perception.core.types import CameraFrame
from occ_perception.systems.vlscene.preprocess import choose_fit, pair_geometry, prepare_view
from parity.cases import Array, Case, Weights
from parity.compare import Check, Outputs, Rule, absolute


def kitti_camera(calibration: dict[str, object], matrix: str) -> Camera:
    """The camera of a KITTI calibration, in the LiDAR's frame.

    Args:
        calibration: "W", "H", "P2", "P3" and "Tr" as in the case's JSON.
        matrix: "P2" (left) or "P3" (right).
    """
    T_cam_lidar = np.vstack([np.array(calibration["Tr"], dtype=np.float64), [0, 0, 0, 1]])
    return Camera(
        name=matrix,
        P=np.array(calibration[matrix], dtype=np.float64),
        width=int(calibration["W"]),
        height=int(calibration["H"]),
        T_base_cam=np.linalg.inv(T_cam_lidar),
    )


def preprocess(case: Case, weights: Weights) -> Outputs:
    """Both images of a pair and the calibration tensors."""
    calibration = case.spec["calibration"]
    views = [
        _view(case, kitti_camera(calibration, matrix), offset)
        for offset, matrix in enumerate(("P2", "P3"))
    ]
    geometry = pair_geometry(*views)
    left, right = (view.image[None] for view in views)
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = geometry.rots[0, 0], geometry.trans[0, 0]
    return {
        "left_img": left,
        "left_rot": geometry.rots[0],
        "left_tran": geometry.trans[0],
        "left_intrin": geometry.intrins_left[0],
        "left_post_rot": geometry.post_rots[0],
        "left_post_tran": geometry.post_trans[0],
        "left_depth": torch.zeros(1, 1),  # the official loader's stand-in when nothing is trained
        "left_cam2lidar": pose[None],
        "left_calib": geometry.calib[0],
        "left_img_last_columns": left[0, :, ::16, -4:],
        "right_img": right,
        "right_intrin": geometry.intrins_right[0],
    }


def _view(case: Case, camera: Camera, seed_offset: int):
    bgr = _raw_image(case, camera.height, camera.width, seed_offset)
    frame = CameraFrame(np.ascontiguousarray(bgr[..., ::-1]), camera, stamp_ns=0)
    return prepare_view(frame, choose_fit(camera, "published"))


def _raw_image(case: Case, height: int, width: int, seed_offset: int) -> Array:
    rng = case.rng(seed_offset)
    low, high, *cells = case.integers(r"a=g.integers\(([\d,()]+)\)")
    noise_low, noise_high = case.integers(r"n=g.integers\((-?\d+,\d+),")
    (cell,) = case.integers(r"repeated to (\d+)x")
    blocks = rng.integers(low, high, cells).repeat(cell, axis=0).repeat(cell, axis=1)
    noise = rng.integers(noise_low, noise_high, (height, width, 3))
    return np.clip(blocks[:height, :width] + noise, 0, 255).astype(np.uint8)


def preprocess_rule(case: Case, name: str) -> Rule:
    """Grey levels for images, float32 rounding for matrices."""
    pattern = r"image: max\|diff\| <= ([\d.e-]+)" if "img" in name else r"matrices ([\d.e-]+)"
    (limit,) = case.numbers(pattern, "tolerance")
    return absolute(limit)


CASES = {
    "preprocess_00": Check(preprocess, preprocess_rule),
    "preprocess_08": Check(preprocess, preprocess_rule),
}
