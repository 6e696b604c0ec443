"""Rigid transforms `T_target_source` with `p_target = T_target_source @ p_source`.

Quaternions are (x, y, z, w) as at every ROS boundary; Gaussian code uses (w, x, y, z) and converts
with `wxyz_from_xyzw` only.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import TransformError

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]


def matrix_from_quaternion(xyzw: npt.ArrayLike) -> Matrix:
    """Rotation matrix `[3, 3]` of a quaternion (x, y, z, w); normalised first.

    Raises:
        TransformError: The quaternion is zero or not finite.
    """
    q = np.asarray(xyzw, dtype=np.float64)
    norm = float(np.linalg.norm(q))
    if not math.isfinite(norm) or norm < 1e-9:
        raise TransformError(f"quaternion {q.tolist()} is not a rotation; publish a unit one")
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_matrix(rotation: npt.ArrayLike) -> Vector:
    """Quaternion (x, y, z, w) with w >= 0 of a rotation matrix `[3, 3]`."""
    m = np.asarray(rotation, dtype=np.float64)
    # Largest of the four squared components first: no division by a small number (Shepperd 1978).
    squares = np.array(
        [
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
            1 + m[0, 0] + m[1, 1] + m[2, 2],
        ]
    )
    rows = np.array(
        [
            [squares[0], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], squares[1], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[2, 1] + m[1, 2], squares[2], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]],
        ]
    )
    q = rows[int(np.argmax(squares))]
    q = q / np.linalg.norm(q)
    return -q if q[3] < 0 else q


def wxyz_from_xyzw(xyzw: npt.ArrayLike) -> Vector:
    """Quaternion order of ROS to the order of Gaussian code, along the last axis."""
    return np.roll(np.asarray(xyzw, dtype=np.float64), 1, axis=-1)


def transform(translation_m: npt.ArrayLike, xyzw: npt.ArrayLike = (0, 0, 0, 1)) -> Matrix:
    """Homogeneous `[4, 4]` transform of a translation (metres) and a quaternion (x, y, z, w)."""
    T = np.eye(4)
    T[:3, :3] = matrix_from_quaternion(xyzw)
    T[:3, 3] = translation_m
    return T


def rotation_rpy(roll_rad: float, pitch_rad: float, yaw_rad: float) -> Matrix:
    """Rotation `[3, 3]` about fixed x, then y, then z (REP 103)."""
    (cr, sr), (cp, sp), (cy, sy) = (
        (math.cos(a), math.sin(a)) for a in (roll_rad, pitch_rad, yaw_rad)
    )
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def inverse(T: Matrix) -> Matrix:
    """Inverse of a rigid `[4, 4]` transform."""
    out = np.eye(4)
    out[:3, :3] = T[:3, :3].T
    out[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return out


def is_rigid(T: Matrix, tolerance: float = 1e-3) -> bool:
    """Whether a `[4, 4]` matrix is a finite rotation and translation."""
    R = T[:3, :3]
    return bool(
        np.isfinite(T).all()
        and np.allclose(R @ R.T, np.eye(3), atol=tolerance)
        and np.linalg.det(R) > 0
    )


def slerp(start: npt.ArrayLike, end: npt.ArrayLike, fraction: float) -> Vector:
    """Quaternion (x, y, z, w) on the shorter arc between two unit quaternions."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    dot = float(a @ b)
    if dot < 0:
        b, dot = -b, -dot
    if dot > 1 - 1e-9:  # nearly equal: the sines vanish, the chord is exact enough
        q = a + fraction * (b - a)
        return q / np.linalg.norm(q)
    angle = math.acos(dot)
    q = math.sin((1 - fraction) * angle) * a + math.sin(fraction * angle) * b
    return q / math.sin(angle)


# Optical axes (x right, y down, z forward) in body axes (x forward, y left, z up), REP 103.
R_BODY_OPTICAL: Matrix = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
