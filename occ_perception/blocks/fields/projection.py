"""From 3D points to normalised image coordinates and to the pixels around them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional as F

from occ_perception.geometry.precision import single_precision

# Nearer than this (metres) a point counts as beside the camera; also guards the division.
MIN_DEPTH_M = 1e-3
# Points whose values stay in a processor's cache, and below what its allocator gives back at once.
_CACHED_POINTS = 1 << 17


class ImagePoints(NamedTuple):
    """Points seen in an image.

    Attributes:
        uv: Normalised image coordinates, -1..1 inside the image.
        depth_m: Depth along the optical axis, metres; may be negative.
        outside: Behind the camera or beside the image.
    """

    uv: Float[Tensor, "*batch 2"]
    depth_m: Float[Tensor, "*batch"]
    outside: Bool[Tensor, "*batch"]


def project_normalised(
    points: Float[Tensor, "*batch m 3"],
    T_cam_world: Float[Tensor, "*#batch 4 4"],
    K: Float[Tensor, "*#batch 3 3"],
) -> ImagePoints:
    """Project points into a camera.

    Args:
        points: Points in the world frame, metres.
        T_cam_world: World to camera.
        K: Normalised intrinsics.
    """
    with single_precision(points):
        in_camera = points @ T_cam_world[..., :3, :3].mT + T_cam_world[..., None, :3, 3]
        uvw = in_camera @ K.mT
    depth = uvw[..., 2]
    uv = uvw[..., :2] / depth[..., None].clamp(min=MIN_DEPTH_M)
    outside = (depth <= MIN_DEPTH_M) | (uv.abs() > 1).any(dim=-1)
    return ImagePoints(uv, depth, outside)


class Taps(NamedTuple):
    """The four pixels around each point and their bilinear weights; constant per calibration.

    Attributes:
        pixels: Row-major pixel indices.
        weights: Weights that sum to one.
    """

    pixels: Integer[Tensor, "*batch 4"]
    weights: Float[Tensor, "*batch 4"]


def bilinear_taps(uv: Float[Tensor, "*batch 2"], height: int, width: int) -> Taps:
    """Pixels to read for normalised points; points beyond the border read the border.

    Args:
        uv: Normalised coordinates whose -1 and 1 are the image's outer edges.
        height: Rows of the map.
        width: Columns of the map.
    """
    last = uv.new_tensor([width - 1, height - 1])
    size = uv.new_tensor([width, height])
    xy = (((uv + 1) * size - 1) / 2).nan_to_num().clamp(min=0).minimum(last)
    low = xy.floor()
    (x0, y0), (x1, y1) = low.int().unbind(-1), (low + 1).minimum(last).int().unbind(-1)
    fx, fy = (xy - low).unbind(-1)
    pixels = torch.stack([y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1], -1)
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=-1)
    return Taps(pixels, weights)


class FlatTaps(NamedTuple):
    """Maps as one table, and the rows that points read.

    Attributes:
        table: One row per pixel of all maps.
        pixels: Rows of the table.
        weights: Their bilinear weights.
    """

    table: Float[Tensor, "p c"]
    pixels: Integer[Tensor, "m 4"]
    weights: Float[Tensor, "m 4"]


def flat_taps(maps: Float[Tensor, "b c h w"], taps: Taps) -> FlatTaps:
    """Taps `[B, M, 4]` of a batch of maps, for gathers that read whole pixels.

    Such a gather is several times faster than `grid_sample` on maps of many channels, and the
    result has the layout that linear layers want.
    """
    batch, channels, height, width = maps.shape
    table = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    image = torch.arange(batch, device=maps.device, dtype=taps.pixels.dtype) * (height * width)
    pixels = (taps.pixels + image[:, None, None]).flatten(0, 1)
    return FlatTaps(table, pixels, taps.weights.flatten(0, 1).to(table.dtype))


def read_taps(maps: Float[Tensor, "b c h w"], taps: Taps) -> Float[Tensor, "b m c"]:
    """Bilinear values of the maps at the taps `[B, M, 4]`."""
    table, pixels, weights = flat_taps(maps, taps)
    values = F.embedding_bag(pixels, table, mode="sum", per_sample_weights=weights)
    return values.unflatten(0, (len(maps), -1))


def sample_bilinear(
    maps: Float[Tensor, "b c h w"], uv: Float[Tensor, "b m 2"]
) -> Float[Tensor, "b m c"]:
    """Bilinear values of maps at normalised points, border values beyond the border."""
    return read_taps(maps, bilinear_taps(uv, *maps.shape[-2:]))


def pieces(points: Float[Tensor, "b m 3"]) -> tuple[Float[Tensor, "b _ 3"], ...]:
    """Points in portions whose intermediate values a processor can cache; all at once elsewhere."""
    if points.device.type != "cpu":
        return (points,)
    return points.split(max(1, _CACHED_POINTS // len(points)), dim=1)
