"""Training targets from one LiDAR scan: sparse depth images and labelled points."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class PointTargets(NamedTuple):
    """LiDAR points that a camera sees.

    Attributes:
        points: `[n, 4]` x, y, z in the LiDAR frame (metres) and training label, 0 = none.
        uvd: `[n, 3]` image position in -1..1 (x, y) and depth in metres.
    """

    points: Float[Tensor, "n 4"]
    uvd: Float[Tensor, "n 3"]


class SeenPoints(NamedTuple):
    """Points inside an image.

    Attributes:
        index: `[n]` which of the points.
        uv: `[n, 2]` network pixels.
        depth: `[n]` metres.
    """

    index: Int[Tensor, " n"]
    uv: Float[Tensor, "n 2"]
    depth: Float[Tensor, " n"]


def see_points(
    points: Float[Tensor, "n 3"],
    T_lidar_cam: Float[Tensor, "4 4"],
    P: Float[Tensor, "3 4"],
    image_transform: Float[Tensor, "3 3"],
    size: tuple[int, int],
) -> SeenPoints:
    """Project points and keep those in front of the camera and inside the network image.

    Args:
        points: Points in the LiDAR frame, metres.
        T_lidar_cam: Pose of the camera in the LiDAR frame.
        P: Projection to raw pixels.
        image_transform: Raw pixels -> network pixels.
        size: Height and width of the network image.
    """
    height, width = size
    # Step by step in the dtype of the points, not as one matrix: a target pixel hangs on rounding.
    in_camera = (points - T_lidar_cam[:3, 3]) @ T_lidar_cam[:3, :3].inverse().T
    homogeneous = in_camera @ P[:, :3].T + P[:, 3]
    depth = homogeneous[:, 2]
    uv = homogeneous[:, :2] / depth[:, None] @ image_transform[:2, :2].T + image_transform[:2, 2]
    u, v = uv.unbind(dim=1)
    inside = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1) & (depth > 0)
    return SeenPoints(inside.nonzero()[:, 0], uv[inside], depth[inside])


def depth_image(seen: SeenPoints, size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """Sparse depth image, metres, 0 = no point; the nearest point of a pixel counts."""
    height, width = size
    column, row = seen.uv.round().long().unbind(dim=1)
    image = torch.full((height * width,), torch.inf, dtype=seen.depth.dtype)
    image.scatter_reduce_(0, row * width + column, seen.depth, reduce="amin")
    return image.masked_fill(image.isinf(), 0).view(height, width)


def point_targets(
    points: Float[Tensor, "n 3"],
    labels: Int[Tensor, " n"],
    seen: SeenPoints,
    size: tuple[int, int],
) -> PointTargets:
    """Labelled points of one view, for losses on points.

    Args:
        points: All points of the scan in the LiDAR frame, metres.
        labels: Their training ids, 0 = none.
        seen: Which of them the view sees. The published training takes the *right* view here.
        size: Height and width of the network image.
    """
    height, width = size
    scale = seen.uv.new_tensor([2 / width, 2 / height])
    rows = torch.cat([points, labels[:, None].to(points.dtype)], dim=1)[seen.index]
    return PointTargets(rows, torch.cat([seen.uv * scale - 1, seen.depth[:, None]], dim=1))
