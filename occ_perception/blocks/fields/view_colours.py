"""Colours of 3D points as other posed views see them: what replaces a learnt colour."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.blocks.fields.projection import pieces, project_normalised


class PointColours(NamedTuple):
    """Colours per point and view.

    Attributes:
        colours: RGB.
        outside: The point is not in the view's image.
    """

    colours: Float[Tensor, "b m r 3"]
    outside: Bool[Tensor, "b m r"]


def sample_views(
    images: Float[Tensor, "b r 3 h w"],
    points: Float[Tensor, "b m 3"],
    T_cam_world: Float[Tensor, "b r 4 4"],
    K: Float[Tensor, "b r 3 3"],
) -> PointColours:
    """Bilinear colours of points in several views; border colours outside.

    Args:
        images: RGB 0..1.
        points: Points in the world frame, metres.
        T_cam_world: World to the views' cameras.
        K: Normalised intrinsics.
    """
    found = [_sample(images, piece, T_cam_world, K) for piece in pieces(points)]
    return PointColours(*(torch.cat(parts, dim=1) for parts in zip(*found, strict=True)))


def _sample(images: Tensor, points: Tensor, T_cam_world: Tensor, K: Tensor) -> PointColours:
    views = images.shape[1]
    per_view = points[:, None].expand(-1, views, -1, -1)
    uv, _, outside = project_normalised(per_view, T_cam_world, K)
    # Of three channels: the weights of `sample_bilinear` would be more work than the colours.
    colours = F.grid_sample(
        images.flatten(0, 1), uv.flatten(0, 1)[:, None], padding_mode="border", align_corners=False
    )
    return PointColours(colours[:, :, 0].unflatten(0, (-1, views)).permute(0, 3, 1, 2), outside.mT)
