"""From points in the vehicle to pixels."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def project(
    points: Float[Tensor, "*batch 3"], P_image_points: Float[Tensor, "3 4"]
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
    """Project points with a 3x4 matrix.

    Args:
        points: Points in the source frame of the matrix, metres.
        P_image_points: `P @ T_cam_points`, pixels.

    Returns:
        Pixels (u, v) and depth along the optical axis, metres. Where the depth is not positive the
        pixel is meaningless; ask `visible`.
    """
    uvw = points @ P_image_points[:, :3].T + P_image_points[:, 3]
    depth = uvw[..., 2]
    safe = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
    return uvw[..., :2] / safe[..., None], depth


def visible(
    uv: Float[Tensor, "*batch 2"],
    depth: Float[Tensor, "*batch"],
    width: int,
    height: int,
    min_depth_m: float = 0.0,
) -> Bool[Tensor, "*batch"]:
    """Which projected points lie in front of the camera and inside the image (pixel edges)."""
    u, v = uv.unbind(-1)
    inside = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    return inside & (depth > min_depth_m)
