"""What a field looks like from its own camera: deterministic rays, prepared once per calibration.

A picture shows the camera's whole image at a reduced size, whatever part of it the network was
given; its pixels outside that part make no statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from occ_perception.blocks.fields.config import FieldConfig
from occ_perception.blocks.fields.fixed_points import (
    FixedPoints,
    Sight,
    fix_points,
    fixed_activations,
)
from occ_perception.blocks.fields.pixel_field import PixelField
from occ_perception.blocks.fields.prepare import view_intrinsics
from occ_perception.blocks.fields.projection import project_normalised
from occ_perception.core.types import PreparedView
from occ_perception.geometry.rays import (
    centre_grid,
    directions_through,
    normalised_intrinsics,
    points_on,
    rays_through,
    z_per_distance,
)
from occ_perception.rendering.volume import (
    composite,
    expected,
    expected_distance,
    fixed_jitter,
    inverse_depth_distances,
)


class PicturePixels(NamedTuple):
    """Pixels of a picture of the whole camera image.

    Attributes:
        uv: Normalised coordinates in the camera's image.
        network_uv: Normalised coordinates in the network's image.
        inside: The network's image shows the pixel.
        K: Normalised intrinsics of the camera's image.
    """

    uv: Float[Tensor, "h w 2"]
    network_uv: Float[Tensor, "h w 2"]
    inside: Bool[Tensor, "h w"]
    K: Float[Tensor, "3 3"]

    def nearest(self, image: Shaped[Tensor, "h2 w2"], fill: float) -> Shaped[Tensor, "h w"]:
        """The picture of an image of the network's: nearest values, `fill` outside of it."""
        size = torch.tensor(image.shape, device=image.device).flip(0)
        column, row = ((self.network_uv + 1) / 2 * size).long().clamp(min=0).unbind(-1)
        values = image[row.clamp(max=image.shape[0] - 1), column.clamp(max=image.shape[1] - 1)]
        return values.masked_fill(~self.inside, fill)

    def strips(self, rows: int) -> Iterator[PicturePixels]:
        """The picture in strips of at most so many rows."""
        splits = (part.split(rows) for part in (self.uv, self.network_uv, self.inside))
        return (PicturePixels(*parts, self.K) for parts in zip(*splits, strict=True))

    def spread(self, values: Shaped[Tensor, "n ..."], fill: float) -> Shaped[Tensor, "h w ..."]:
        """Values of the pixels inside as a picture."""
        whole = values.new_full((*self.inside.shape, *values.shape[1:]), fill)
        whole[self.inside] = values
        return whole


def picture_pixels(view: PreparedView, size: tuple[int, int]) -> PicturePixels:
    """Pixels of a picture of the camera's whole image.

    Args:
        view: A prepared image.
        size: Height and width of the picture.
    """
    camera = view.camera
    whole = normalised_intrinsics(camera.K, camera.width, camera.height)
    K = torch.from_numpy(whole).float().to(view.image.device)
    uv = centre_grid(*size, device=K.device)
    directions = directions_through(uv, K).flatten(0, 1)
    seen = project_normalised(directions, torch.eye(4).to(K), view_intrinsics(view).to(K))
    network_uv = seen.uv.view(*size, 2)
    return PicturePixels(uv, network_uv, ~seen.outside.view(size), K)


class PictureRays(NamedTuple):
    """Rays through the pixels of a picture that the network's image shows.

    Attributes:
        pixels: The picture.
        samples: Prepared samples of the rays inside, ray by ray.
        distances_m: Distances of the samples along every ray.
        z_per_distance: Depth along the optical axis per metre of each ray.
    """

    pixels: PicturePixels
    samples: FixedPoints
    distances_m: Float[Tensor, " k"]
    z_per_distance: Float[Tensor, " n"]


def picture_rays(
    field: PixelField,
    view: PreparedView,
    config: FieldConfig,
    dtype: torch.dtype = torch.float32,
) -> PictureRays:
    """Prepare the rays of a depth picture; their samples lie in the middle of their intervals.

    Args:
        field: The field.
        view: A prepared image.
        config: Range of the rays, their number and that of their samples.
        dtype: Of the hidden map.
    """
    height, width = (side // config.picture_stride for side in config.input_size)
    return rays_of(field, view, picture_pixels(view, (height, width)), config, dtype)


def rays_of(
    field: PixelField,
    view: PreparedView,
    pixels: PicturePixels,
    config: FieldConfig,
    dtype: torch.dtype = torch.float32,
) -> PictureRays:
    """Prepare the rays of some rows of a picture; the other arguments are `picture_rays`'."""
    uv, identity = pixels.uv[pixels.inside], torch.eye(4).to(pixels.K)
    jitter = fixed_jitter((), config.samples, pixels.K)
    distances = inverse_depth_distances(jitter, config.near_m, config.far_m)
    rays = rays_through(uv, pixels.K, identity)
    points = points_on(rays, distances.expand(len(uv), -1)).flatten(0, 1)
    sight = Sight(identity, view_intrinsics(view).to(pixels.K), config.map_size, dtype)
    fixed = fix_points(field, points, sight)
    return PictureRays(pixels, fixed, distances, z_per_distance(uv, pixels.K))


class RenderedPicture(NamedTuple):
    """What the rays of a picture see.

    Attributes:
        depth_m: Depth along the optical axis, NaN where the network's image ends.
        hidden: Rendered hidden layer of the rays inside; the latent is linear in it.
    """

    depth_m: Float[Tensor, "h w"]
    hidden: Float[Tensor, "n hidden"]


def render_picture(
    field: PixelField, table: Float[Tensor, "p hidden"], rays: PictureRays
) -> RenderedPicture:
    """Render prepared rays.

    Args:
        field: The field.
        table: Its hidden map, one row per pixel.
        rays: What to render.
    """
    activations = torch.cat([fixed_activations(table, piece) for piece in rays.samples.pieces()])
    activations = activations.unflatten(0, (-1, len(rays.distances_m)))
    density = field.density(activations).float()
    weights = composite(density, rays.distances_m).weights
    depth = expected_distance(weights, rays.distances_m) * rays.z_per_distance
    hidden = expected(weights, activations.float())
    return RenderedPicture(rays.pixels.spread(depth, float("nan")), hidden)
