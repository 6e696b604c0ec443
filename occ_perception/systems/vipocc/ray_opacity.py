"""Occupancy of points from opacities along pixel rays (the published `eval_voxel` protocol).

A density is only meaningful together with the length it acts over. So a point counts as occupied
when the piece of its pixel's ray around it is opaque, instead of where the bare density is high.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.blocks.fields.pixel_field import EncodedView
from occ_perception.geometry.rays import Rays, corner_grid, points_on, rays_through
from occ_perception.rendering.volume import inverse_depth_distances, opacity
from occ_perception.systems.vipocc.model import DensityNet


def pixel_samples(
    K: Float[Tensor, "3 3"], size: tuple[int, int], samples: int, near_m: float, far_m: float
) -> tuple[Float[Tensor, "h w k 3"], Float[Tensor, " k"]]:
    """Points along every pixel's ray, without jitter, and their distances.

    Args:
        K: Normalised intrinsics.
        size: Rows and columns of rays.
        samples: Samples per ray.
        near_m: Distance of the first sample, metres.
        far_m: End of the last interval, metres.
    """
    rays = rays_through(corner_grid(*size, device=K.device), K, torch.eye(4).to(K))
    distances = inverse_depth_distances(K.new_zeros(samples), near_m, far_m)
    points = points_on(Rays(*rays), distances.expand(*size, samples))
    return points, distances


def opacity_volume(
    net: DensityNet, hidden: Float[Tensor, "1 c h w"], K: Float[Tensor, "3 3"]
) -> Float[Tensor, "h w k"]:
    """Opacity of every sample of the rays through the encoded image."""
    config = net.config
    points, distances = pixel_samples(
        K, config.input_size, config.samples, config.near_m, config.far_m
    )
    view = EncodedView(hidden, torch.eye(4).to(K)[None], K[None])
    density = net.field.at(view, points.view(1, -1, 3)).density.view(points.shape[:-1])
    return opacity(density, distances.expand_as(density))


def lookup_opacity(
    volume: Float[Tensor, "h w k"],
    points: Float[Tensor, "*batch 3"],
    K: Float[Tensor, "3 3"],
    near_m: float,
    far_m: float,
) -> Float[Tensor, "*batch"]:
    """Opacities at arbitrary points of the camera frame, trilinear in (u, v, inverse distance).

    Args:
        volume: `opacity_volume`'s result.
        points: Points in the camera frame, metres.
        K: Normalised intrinsics.
        near_m: Distance of the volume's first sample.
        far_m: End of its last interval.
    """
    uvz = points @ K.T
    disparity = (1 / points.norm(dim=-1) - 1 / near_m) / (1 / far_m - 1 / near_m)
    # A sample stands for the interval behind it; look it up at the interval's middle.
    middle = disparity + 0.5 / volume.shape[-1]
    where = torch.cat([uvz[..., :2] / uvz[..., 2:], (2 * middle - 1)[..., None]], dim=-1)
    values = F.grid_sample(
        volume.permute(2, 0, 1)[None, None],
        where.view(1, 1, 1, -1, 3),
        padding_mode="border",
        align_corners=True,
    )
    return values.view(points.shape[:-1])
