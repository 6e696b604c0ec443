"""The calibration of a rectified pair, from its two prepared views."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import CalibrationError
from occ_perception.core.types import PreparedView
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry

Matrix = npt.NDArray[np.float64]

_SAME_K_PIXELS = 1.0  # rectified views share K; a shifted centre would bend every disparity


def pair_geometry(left: PreparedView, right: PreparedView) -> StereoGeometry:
    """Calibration tensors of one rectified pair (batch of one).

    Args:
        left: View of the left camera; its pose is that of the frame both P refer to.
        right: View of the right camera.

    Raises:
        CalibrationError: The two are not a rectified pair, or are swapped.
    """
    _check_pair(left, right)
    return stereo_tensors(left, right)


def stereo_tensors(left: PreparedView, right: PreparedView) -> StereoGeometry:
    """`pair_geometry` without its judgement of the calibration."""
    P_left, P_right = left.camera.P, right.camera.P
    T_grid_cam = torch.from_numpy(left.camera.T_base_cam).float()
    A = torch.from_numpy(left.image_transform).float()
    shift = torch.cat([A[:2, 2], torch.zeros(1)])
    linear = torch.block_diag(A[:2, :2], torch.ones(1, 1))
    return StereoGeometry(
        rots=T_grid_cam[None, None, :3, :3],
        trans=T_grid_cam[None, None, :3, 3],
        intrins_left=_embedded(P_left),
        intrins_right=_embedded(P_right),
        post_rots=linear[None, None],
        post_trans=shift[None, None],
        bda=torch.eye(3)[None],
        calib=torch.tensor([[focal_baseline(P_left, P_right)]], dtype=torch.float64),
    )


def focal_baseline(P_left: Matrix, P_right: Matrix) -> float:
    """Focal length times baseline of a rectified pair, raw pixels x metres."""
    right, left = (P[0, 3] / -P[0, 0] for P in (P_right, P_left))
    return float(P_left[0, 0] * (right - left))


def _embedded(P: Matrix) -> Float[Tensor, "1 1 4 4"]:
    matrix = torch.eye(4)
    matrix[:3] = torch.from_numpy(P).float()
    return matrix[None, None]


def _check_pair(left: PreparedView, right: PreparedView) -> None:
    names = f"cameras '{left.camera.name}' and '{right.camera.name}'"
    same_fit = np.allclose(left.image_transform, right.image_transform)
    K_left, K_right = left.camera.K, right.camera.K
    if not same_fit or np.abs(K_left - K_right).max() > _SAME_K_PIXELS:
        raise CalibrationError(
            f"{names} are not a rectified pair: their P differ in more than the baseline "
            f"(fx {K_left[0, 0]:.1f} and {K_right[0, 0]:.1f}, cy {K_left[1, 2]:.1f} and "
            f"{K_right[1, 2]:.1f}); rectify them together or choose the fit 'virtual'"
        )
    baseline_pixels = focal_baseline(left.camera.P, right.camera.P)
    if baseline_pixels == 0:
        raise CalibrationError(
            f"{names} have no baseline: P[0,3] of the right camera must be -fx * baseline; "
            "publish the stereo-calibrated CameraInfo"
        )
    if baseline_pixels < 0:
        raise CalibrationError(f"{names} are swapped (baseline is negative); exchange their topics")
