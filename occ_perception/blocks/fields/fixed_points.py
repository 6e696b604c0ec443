"""A field asked at the same points again and again, as a mounted camera does with a grid.

Where a point falls in the image and the position part of its hidden layer depend on the calibration
and the weights only. What is left per image: read four pixels, add, two small products.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Integer, Shaped
from torch import Tensor
from torch.nn import functional as F

from occ_perception.blocks.fields.pixel_field import PixelField
from occ_perception.blocks.fields.projection import bilinear_taps, project_normalised

# Values of the hidden layer that are made and used up while they are in a processor core's cache.
_CACHED_VALUES = 1 << 18
# Points that are prepared at a time: their codes are wide.
_PREPARED_POINTS = 1 << 16


class Sight(NamedTuple):
    """How a camera sees points.

    Attributes:
        T_cam_points: Frame of the points to the camera.
        K: Its normalised intrinsics.
        map_size: Height and width of the field's hidden map.
        dtype: Of the hidden map, and so of what is prepared.
    """

    T_cam_points: Float[Tensor, "4 4"]
    K: Float[Tensor, "3 3"]
    map_size: tuple[int, int]
    dtype: torch.dtype = torch.float32


class FixedPoints(NamedTuple):
    """Prepared points of one image.

    Attributes:
        pixels: Pixels of the hidden map around each point, row-major.
        weights: Their bilinear weights.
        position: Position part of the hidden layer.
    """

    pixels: Integer[Tensor, "m 4"]
    weights: Float[Tensor, "m 4"]
    position: Float[Tensor, "m hidden"]

    def select(self, index: Integer[Tensor, " n"]) -> FixedPoints:
        """Some of the points."""
        return FixedPoints(*(part[index] for part in self))

    def pieces(self) -> Iterator[FixedPoints]:
        """The points in pieces that fit a processor's cache; all at once on other devices."""
        count, width = self.position.shape
        rows = max(1, _CACHED_VALUES // width) if self.position.device.type == "cpu" else count
        splits = (part.split(max(1, rows)) for part in self)
        return map(FixedPoints, *splits)


def fix_points(field: PixelField, points: Float[Tensor, "m 3"], sight: Sight) -> FixedPoints:
    """Prepare points; those beside the image read its border.

    Args:
        field: The field that will be asked; prepare again when its weights change.
        points: Points, metres.
        sight: How the camera sees them.
    """
    T_cam_points, K, map_size, dtype = sight
    count, width = len(points), len(field.lin_in.weight)
    pixels = torch.empty(count, 4, dtype=torch.int32, device=points.device)
    weights = torch.empty(count, 4, dtype=dtype, device=points.device)
    position = torch.empty(count, width, dtype=dtype, device=points.device)
    for start in range(0, count, _PREPARED_POINTS):
        piece = slice(start, start + _PREPARED_POINTS)
        located = field.locate(points[None, piece], T_cam_points[None], K[None], map_size)
        pixels[piece], weights[piece] = located.taps.pixels[0], located.taps.weights[0]
        position[piece] = field.position_part(located.code[0])
    return FixedPoints(pixels, weights, position)


def pixel_table(hidden_map: Float[Tensor, "1 hidden h w"]) -> Float[Tensor, "p hidden"]:
    """The hidden map as one row per pixel."""
    return hidden_map[0].movedim(0, -1).flatten(0, 1).contiguous()


def fixed_activations(
    table: Float[Tensor, "p hidden"], points: FixedPoints
) -> Float[Tensor, "m hidden"]:
    """Hidden layer at prepared points; the plain form is `PixelField.activations`."""
    image_part = F.embedding_bag(
        points.pixels, table, mode="sum", per_sample_weights=points.weights
    )
    return image_part.add_(points.position).relu_()


def fixed_density(
    field: PixelField, table: Float[Tensor, "p hidden"], points: FixedPoints
) -> Float[Tensor, " m"]:
    """Density at prepared points, 1/m."""
    answers = [field.density(fixed_activations(table, piece)) for piece in points.pieces()]
    return torch.cat(answers).float()


class SeenPoints(NamedTuple):
    """The points of a set that a camera sees, prepared; the others need no evaluation.

    Attributes:
        points: Prepared points in the order of the pixels that they read.
        index: Their indices in the whole set.
        total: Size of the whole set.
    """

    points: FixedPoints
    index: Integer[Tensor, " v"]
    total: int

    def scatter(self, values: Shaped[Tensor, "v ..."], fill: float) -> Shaped[Tensor, "m ..."]:
        """Values of the whole set: `fill` where the camera sees nothing."""
        whole = values.new_full((self.total, *values.shape[1:]), fill)
        return whole.index_copy_(0, self.index, values)


def fix_seen_points(field: PixelField, points: Float[Tensor, "m 3"], sight: Sight) -> SeenPoints:
    """Prepare the points inside the image; the same arguments as `fix_points`."""
    uv, _, outside = project_normalised(points, sight.T_cam_points, sight.K)
    index = (~outside).nonzero()[:, 0]
    # Neighbours in memory read neighbours in the image: what one point reads serves the next.
    first_pixel = bilinear_taps(uv[index], *sight.map_size).pixels[:, 0]
    index = index[first_pixel.argsort()]
    return SeenPoints(fix_points(field, points[index], sight), index, len(points))
