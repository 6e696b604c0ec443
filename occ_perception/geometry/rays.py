"""Rays through pixels, with intrinsics in normalised image coordinates.

Normalised coordinates run from -1 to 1 over the whole image on both axes, so intrinsics in them
(`K`: `[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`) stay the same when the image is resized.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.geometry.precision import single_precision


class Rays(NamedTuple):
    """Half lines in a common frame.

    Attributes:
        origins: Start points, metres.
        directions: Unit vectors, so that distances along a ray are metres.
    """

    origins: Float[Tensor, "*batch 3"]
    directions: Float[Tensor, "*batch 3"]


def normalised_intrinsics(
    K_pixels: npt.ArrayLike, width: int, height: int
) -> npt.NDArray[np.float64]:
    """Pixel intrinsics `[3, 3]` in normalised image coordinates.

    Args:
        K_pixels: Intrinsics of a width x height image, pixels.
        width: Image width that `K_pixels` belongs to, pixels.
        height: Image height, pixels.
    """
    to_unit = np.array([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]])
    return to_unit @ np.asarray(K_pixels, dtype=np.float64)


def pixel_intrinsics(
    K: Float[Tensor, "*b 3 3"], width: int, height: int
) -> Float[Tensor, "*b 3 3"]:
    """Inverse of `normalised_intrinsics`, pixels."""
    to_pixels = K.new_tensor([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]])
    return to_pixels @ K


def corner_grid(
    height: int, width: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "h w 2"]:
    """Normalised (u, v) per pixel where the first and last pixel lie exactly on -1 and 1."""
    v = torch.linspace(-1, 1, height, device=device)
    u = torch.linspace(-1, 1, width, device=device)
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def centre_grid(
    height: int, width: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "h w 2"]:
    """Normalised (u, v) of the pixel centres when -1 and 1 are the outer edges of the image."""
    v = (2 * torch.arange(height, device=device) + 1) / height - 1
    u = (2 * torch.arange(width, device=device) + 1) / width - 1
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def directions_through(
    uv: Float[Tensor, "*batch 2"], K: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch 3"]:
    """Viewing directions with z = 1 in the camera frame (z forward).

    Args:
        uv: Normalised image coordinates.
        K: Normalised intrinsics, broadcast over the points.
    """
    focal = torch.stack([K[..., 0, 0], K[..., 1, 1]], dim=-1)
    return torch.cat([(uv - K[..., :2, 2]) / focal, torch.ones_like(uv[..., :1])], dim=-1)


def rays_through(
    uv: Float[Tensor, "*batch 2"],
    K: Float[Tensor, "*#batch 3 3"],
    T_world_cam: Float[Tensor, "*#batch 4 4"],
) -> Rays:
    """Rays from the camera centre through image points, in the world frame.

    Args:
        uv: Normalised image coordinates.
        K: Normalised intrinsics, broadcast over the points.
        T_world_cam: Camera poses, broadcast over the points.
    """
    directions = directions_through(uv, K)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    with single_precision(directions):
        directions = (T_world_cam[..., :3, :3] @ directions[..., None])[..., 0]
    return Rays(T_world_cam[..., :3, 3].expand_as(directions), directions)


def z_per_distance(
    uv: Float[Tensor, "*batch 2"], K: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """How much depth along the optical axis one metre along the ray is."""
    return 1 / directions_through(uv, K).norm(dim=-1)


def points_on(rays: Rays, distances_m: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch k 3"]:
    """Points at given distances along every ray, metres."""
    return rays.origins[..., None, :] + distances_m[..., None] * rays.directions[..., None, :]
