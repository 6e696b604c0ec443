"""Temporal alignment (ViPOcc section 3.4): the next frame must match, warped by its depth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.geometry.rays import pixel_intrinsics

# With fewer valid (three-channel) pixels the term is left out.
_LEAST_VALID = 10_000
_EPS = 1e-7


class DepthView(NamedTuple):
    """A frame with depth.

    Attributes:
        image: RGB -1..1.
        depth_m: Predicted depth, metres.
        T_world_cam: Pose.
    """

    image: Float[Tensor, "b 3 h w"]
    depth_m: Float[Tensor, "b 1 h w"]
    T_world_cam: Float[Tensor, "b 4 4"]


class Warped(NamedTuple):
    """The other frame as the first one's camera would see it.

    Attributes:
        image: Warped image.
        depth_m: Depth that the other frame predicts at the points, metres.
        moved_depth_m: Depth of the first frame's points in the other camera, metres.
        valid: Points that fall into the other image.
    """

    image: Float[Tensor, "b 3 h w"]
    depth_m: Float[Tensor, "b 1 h w"]
    moved_depth_m: Float[Tensor, "b 1 h w"]
    valid: Bool[Tensor, "b 1 h w"]


def warp(first: DepthView, other: DepthView, K: Float[Tensor, "b 3 3"]) -> Warped:
    """Look up, for every pixel of `first`, its point in `other`.

    Args:
        first: Frame whose depth places the points.
        other: Frame that is sampled.
        K: Normalised intrinsics of both.
    """
    height, width = first.image.shape[-2:]
    K = pixel_intrinsics(K, width, height)
    # World poses are kilometres from the origin: float32 would lose tenths of millimetres.
    T = torch.linalg.solve(other.T_world_cam.double(), first.T_world_cam.double()).to(K)
    v = torch.arange(height, device=K.device, dtype=K.dtype)
    u = torch.arange(width, device=K.device, dtype=K.dtype)
    pixels = torch.stack(
        [*torch.meshgrid(u, v, indexing="xy"), torch.ones_like(u).expand(height, -1)]
    )
    rays = torch.linalg.inv(K) @ pixels.flatten(1)
    points = T[:, :3, :3] @ (rays * first.depth_m.flatten(2)) + T[:, :3, 3:]
    uvw = (K @ points).unflatten(2, (height, width))
    depth = uvw[:, 2:]
    size = K.new_tensor([width - 1, height - 1])[:, None, None]
    uv = ((uvw[:, :2] / (depth + _EPS)) / size - 0.5) * 2
    seen = F.grid_sample(
        torch.cat([other.image, other.depth_m], dim=1), uv.movedim(1, -1), align_corners=False
    )
    valid = uv.abs().amax(dim=1, keepdim=True) <= 1
    return Warped(seen[:, :3], seen[:, 3:], depth, valid)


def _masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    mask = valid.expand_as(values)
    if mask.sum() <= _LEAST_VALID:
        return values.new_zeros(())
    return (values * mask).sum() / mask.sum()


def temporal_alignment(
    first: DepthView, other: DepthView, K: Float[Tensor, "b 3 3"]
) -> Float[Tensor, ""]:
    """Image difference where the depths agree, plus the depths' relative difference.

    Args:
        first: Frame t.
        other: Frame t+1.
        K: Normalised intrinsics of both.
    """
    seen = warp(first, other, K)
    image = (first.image - seen.image).abs().clamp(0, 1)
    gap = (seen.moved_depth_m - seen.depth_m).abs() / (seen.moved_depth_m + seen.depth_m)
    gap = gap.clamp(0, 1)
    return _masked_mean(image * (1 - gap), seen.valid) + _masked_mean(gap, seen.valid)
