"""Colours of rendered rays, taken from other posed views: the fields predict none themselves."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.blocks.fields.view_colours import sample_views
from occ_perception.rendering.volume import RenderedRays, expected
from occ_training.losses.rendering import RaySamples


class PosedImages(NamedTuple):
    """Views that lend their colours.

    Attributes:
        images: RGB 0..1.
        T_world_cam: Poses.
        K: Normalised intrinsics.
    """

    images: Float[Tensor, "b r 3 h w"]
    T_world_cam: Float[Tensor, "b r 4 4"]
    K: Float[Tensor, "b r 3 3"]


def rebased(T_world_cam: Float[Tensor, "b v 4 4"]) -> Float[Tensor, "b v 4 4"]:
    """Poses relative to view 0; composed in float64, world coordinates are kilometres large."""
    poses = T_world_cam.double()
    return torch.linalg.solve(poses[:, :1], poses).to(T_world_cam.dtype)


def ray_colours(
    rays: RenderedRays, views: PosedImages
) -> tuple[RaySamples, Float[Tensor, "b n r 3"]]:
    """What the views say about rendered rays.

    Args:
        rays: Rays through a field.
        views: Source views in the same frame.

    Returns:
        Samples `[B, N, K, ...]` for the validity of rays, and rendered colours per view.
    """
    shape = rays.distances_m.shape
    seen = sample_views(
        views.images, rays.points.flatten(1, 2), torch.linalg.inv(views.T_world_cam), views.K
    )
    colours = seen.colours.unflatten(1, shape[1:])
    outside = seen.outside.unflatten(1, shape[1:]) | rays.outside[..., None]
    rendered = expected(rays.weights, colours.flatten(-2)).unflatten(-1, (-1, 3))
    return RaySamples(rays.weights, outside, colours), rendered
