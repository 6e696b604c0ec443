"""Lift: where the depth bins of every feature pixel are in space (Philion & Fidler 2020)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def depth_bins(start_m: float, stop_m: float, step_m: float) -> Float[Tensor, " d"]:
    """Depths of the bins, metres, `stop_m` excluded."""
    return torch.arange(start_m, stop_m, step_m, dtype=torch.float32)


def image_frustum(
    image_size: tuple[int, int], map_size: tuple[int, int], depths_m: Float[Tensor, " d"]
) -> Float[Tensor, "d h w 3"]:
    """Pixel and depth (u, v, d) of every depth bin of every feature pixel.

    The corner features sit on the corner pixels of the image, not on the centres of their cells:
    LSS and its descendants were trained that way.

    Args:
        image_size: Height and width of the network's image, pixels.
        map_size: Height and width of the feature map.
        depths_m: `[D]`, metres.
    """
    sizes = zip(image_size, map_size, strict=True)
    v, u = (torch.linspace(0, n - 1, m, device=depths_m.device) for n, m in sizes)
    d, v, u = torch.meshgrid(depths_m, v, u, indexing="ij")
    return torch.stack([u, v, d], dim=-1)


def unproject_frustum(
    frustum: Float[Tensor, "d h w 3"],
    projection: Float[Tensor, "b n 4 4"],
    rotation: Float[Tensor, "b n 3 3"],
    translation: Float[Tensor, "b n 3"],
    image_rotation: Float[Tensor, "b n 3 3"],
    image_translation: Float[Tensor, "b n 3"],
    augmentation: Float[Tensor, "b 3 3"],
) -> Float[Tensor, "b n d h w 3"]:
    """Frustum points in the base frame, metres.

    Args:
        frustum: From `image_frustum`; u, v in pixels of the network's image, d in metres.
        projection: Raw-image projection matrix; its fourth column is used as well.
        rotation: Camera to base.
        translation: Camera to base, metres.
        image_rotation: Raw pixels to network pixels, linear part.
        image_translation: Raw pixels to network pixels, shift.
        augmentation: Applied to the points at the end.
    """
    d, h, w, _ = frustum.shape
    points = frustum.flatten(0, 2) - image_translation[:, :, None]
    points = points @ torch.linalg.inv(image_rotation).mT
    points = torch.cat([points[..., :2] * points[..., 2:], points[..., 2:]], dim=-1)
    points = points - projection[:, :, None, :3, 3]
    camera_to_base = rotation @ torch.linalg.inv(projection[..., :3, :3])
    points = points @ camera_to_base.mT + translation[:, :, None]
    return (points @ augmentation[:, None].mT).unflatten(2, (d, h, w))
