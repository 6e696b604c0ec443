"""Square patches of pixels: where the rays of a training step go."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from occ_perception.geometry.rays import Rays, rays_through


class Patches(NamedTuple):
    """Patches per sample.

    Attributes:
        view: Index into the views that are asked.
        y: Row of the upper left pixel.
        x: Column of the upper left pixel.
        size: Edge length, pixels.
    """

    view: Int[Tensor, "b p"]
    y: Int[Tensor, "b p"]
    x: Int[Tensor, "b p"]
    size: int


class PatchRays(NamedTuple):
    """Rays through the pixels of patches.

    Attributes:
        rows: Pixel rows.
        columns: Pixel columns.
        uv: Normalised image coordinates of the pixels.
        rays: Rays in the common frame.
    """

    rows: Int[Tensor, "b p y x"]
    columns: Int[Tensor, "b p y x"]
    uv: Float[Tensor, "b p y x 2"]
    rays: Rays

    @property
    def flat(self) -> Rays:
        """Rays `[B, R, 3]`."""
        return Rays(*(part.flatten(1, 3) for part in self.rays))


def random_patches(
    batch: int,
    count: int,
    views: int,
    image_size: tuple[int, int],
    size: int,
    generator: torch.Generator | None = None,
) -> Patches:
    """Uniform patches, drawn for every sample on its own.

    The official code draws one set for the whole batch and never the last row and column of
    positions; the latter is kept.

    Args:
        batch: Samples.
        count: Patches per sample.
        views: Views to choose from.
        image_size: Height and width, pixels.
        size: Edge length, pixels.
        generator: Source of randomness.
    """
    bounds = (views, image_size[0] - size, image_size[1] - size)
    view, y, x = (torch.randint(b, (batch, count), generator=generator) for b in bounds)
    return Patches(view, y, x, size)


class GridCells(NamedTuple):
    """Cells of a ViT's grid that patches cover, when the grid is moved against the image.

    Attributes:
        view: Index into the views that are asked.
        row: Row of the feature.
        column: Column of the feature.
    """

    view: Int[Tensor, "b p"]
    row: Int[Tensor, "b p"]
    column: Int[Tensor, "b p"]


def random_cells(
    batch: int,
    count: int,
    views: int,
    grid: tuple[int, int],
    generator: torch.Generator | None = None,
) -> GridCells:
    """Uniform cells before the grid is moved; the last row and column stay free for the move.

    Args:
        batch: Samples.
        count: Cells per sample.
        views: Views to choose from.
        grid: Rows and columns of features.
        generator: Source of randomness.
    """
    bounds = (views, grid[0] - 1, grid[1] - 1)
    return GridCells(*(torch.randint(b, (batch, count), generator=generator) for b in bounds))


def moved_grid(cells: GridCells, shift: tuple[int, int], patch: int) -> tuple[Patches, GridCells]:
    """Pixels of drawn cells and the cells of the moved grid that show the same pixels.

    Args:
        cells: Drawn cells.
        shift: Rows and columns by which the grid is moved, pixels.
        patch: Edge length of a cell, pixels.
    """
    y, x = (
        start * patch + step % patch
        for start, step in zip((cells.row, cells.column), shift, strict=True)
    )
    row, column = cells.row + (shift[0] < 0), cells.column + (shift[1] < 0)
    return Patches(cells.view, y, x, patch), GridCells(cells.view, row, column)


def _pixels(patches: Patches) -> tuple[Tensor, Tensor]:
    offset = torch.arange(patches.size, device=patches.y.device)
    shape = (*patches.y.shape, patches.size, patches.size)
    rows = (patches.y[..., None, None] + offset[:, None]).expand(shape)
    columns = (patches.x[..., None, None] + offset).expand(shape)
    return rows, columns


def patch_rays(
    patches: Patches,
    K: Float[Tensor, "b v 3 3"],
    T_world_cam: Float[Tensor, "b v 4 4"],
    uv_map: Float[Tensor, "h w 2"],
) -> PatchRays:
    """Rays through every pixel of the patches.

    Args:
        patches: Patches on the views of `K`.
        K: Normalised intrinsics.
        T_world_cam: Poses.
        uv_map: Normalised coordinates of the pixels (`corner_grid` or `centre_grid`).
    """
    rows, columns = _pixels(patches)
    uv = uv_map[rows, columns]
    sample = torch.arange(len(K), device=K.device)[:, None]
    choose = (sample, patches.view)
    rays = rays_through(uv, K[choose][:, :, None, None], T_world_cam[choose][:, :, None, None])
    return PatchRays(rows, columns, uv, rays)


def colours_at(
    maps: Float[Tensor, "b v c h w"], patches: Patches, rays: PatchRays
) -> Float[Tensor, "b p y x c"]:
    """Values of per-view maps at the patches' pixels."""
    sample = torch.arange(len(maps), device=maps.device)[:, None, None, None]
    view = patches.view[..., None, None].expand_as(rays.rows)
    return maps.permute(0, 1, 3, 4, 2)[sample, view, rays.rows, rays.columns]
