"""Gaussian splatting in plain torch: the oracle for fast rasterisers, and their CPU stand-in.

Forward and gradients follow gsplat's classic mode (Ye et al. 2024; Kerbl et al. 2023): pinhole
cameras, 16 x 16 tiles, no background, features and accumulated (not normalised) depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occ_perception.geometry.quaternions import rotation_matrices

_TILE = 16
_BLUR_PIXELS2 = 0.3  # added to the projected covariance: nothing is smaller than a pixel
_NEAR_M, _FAR_M = 0.01, 1e10
_MOST_OPAQUE, _LEAST_OPAQUE = 0.999, 1 / 255
_OPAQUE_ENOUGH = 1e-4  # transmittance at which a pixel is finished
# Pixel-Gaussian pairs at a time: few large steps on a GPU, on a CPU what its cache holds.
_PAIRS_AT_ONCE = {"cpu": 2**18, "cuda": 2**23}


class SplatCameras(NamedTuple):
    """Pinhole cameras of one image size.

    Attributes:
        T_cam_world: Poses of the world in the cameras, metres.
        K: Intrinsics, pixels.
        width: Image width, pixels.
        height: Image height, pixels.
    """

    T_cam_world: Float[Tensor, "c 4 4"]
    K: Float[Tensor, "c 3 3"]
    width: int
    height: int


class Splats(NamedTuple):
    """Gaussians as the cameras see them.

    Attributes:
        centres: Projected means, pixels.
        conics: Inverse 2D covariances (xx, xy, yy), 1 / square pixels.
        depths: Depth of the means, metres.
        extents: Half width and height of the square that is drawn, pixels; 0 = culled.
    """

    centres: Float[Tensor, "c g 2"]
    conics: Float[Tensor, "c g 3"]
    depths: Float[Tensor, "c g"]
    extents: Float[Tensor, "c g 2"]

    @property
    def drawn(self) -> Bool[Tensor, "c g"]:
        """Gaussians that survived culling."""
        return (self.extents > 0).all(dim=-1)


class SplatImages(NamedTuple):
    """Rendered pictures.

    Attributes:
        values: Features, then accumulated depth in metres.
        alphas: Accumulated opacity.
    """

    values: Float[Tensor, "c h w k"]
    alphas: Float[Tensor, "c h w"]


# How far a Gaussian is drawn: (2D covariance xx, xy, yy; opacities) -> half sizes, pixels.
ExtentRule = Callable[[Float[Tensor, "c g 3"], Float[Tensor, " g"]], Float[Tensor, "c g 2"]]


def square_extents(
    covariance: Float[Tensor, "c g 3"], opacities: Float[Tensor, " g"]
) -> Float[Tensor, "c g 2"]:
    """Three standard deviations of the longer axis (gsplat 1.2, which the paper used)."""
    xx, xy, yy = covariance.unbind(dim=-1)
    half_trace = (xx + yy) / 2
    longest = half_trace + (half_trace.square() - xx * yy + xy * xy).clamp(min=0.1).sqrt()
    return (3 * longest.sqrt()).ceil()[..., None].expand(*longest.shape, 2)


def tight_extents(
    covariance: Float[Tensor, "c g 3"], opacities: Float[Tensor, " g"]
) -> Float[Tensor, "c g 2"]:
    """Per axis, as far as the opacity is visible (gsplat 1.5)."""
    visible = opacities >= _LEAST_OPAQUE
    reach = (2 * (opacities / _LEAST_OPAQUE).clamp(min=1).log()).sqrt().clamp(max=3.33)
    extents = (reach[:, None] * covariance[..., ::2].sqrt()).ceil()
    return extents * visible[:, None]


def project_gaussians(
    means: Float[Tensor, "g 3"],
    scales: Float[Tensor, "g 3"],
    quaternions: Float[Tensor, "g 4"],
    opacities: Float[Tensor, " g"],
    cameras: SplatCameras,
    extents: ExtentRule = square_extents,
) -> Splats:
    """Project Gaussians by a first-order expansion of the pinhole camera.

    Args:
        means: Centres in the world, metres.
        scales: Standard deviations, metres.
        quaternions: Orientations (w, x, y, z).
        opacities: 0..1.
        cameras: Where to.
        extents: How far a Gaussian is drawn.
    """
    R, t = cameras.T_cam_world[:, :3, :3], cameras.T_cam_world[:, :3, 3]
    points = means @ R.mT + t[:, None]
    depths = points[..., 2]
    in_range = (depths >= _NEAR_M) & (depths <= _FAR_M)
    z = torch.where(in_range, depths, 1.0)
    focal = cameras.K[:, [0, 1], [0, 1]][:, None]
    centre = cameras.K[:, :2, 2][:, None]
    slopes = points[..., :2] / z[..., None]
    axes = R[:, None] @ (rotation_matrices(quaternions) * scales[:, None])
    spread = _pinhole_jacobian(slopes, z, focal, centre, cameras) @ axes
    covariance = spread @ spread.mT
    xx = covariance[..., 0, 0] + _BLUR_PIXELS2
    yy = covariance[..., 1, 1] + _BLUR_PIXELS2
    xy = covariance[..., 0, 1]
    determinant = xx * yy - xy * xy
    centres = slopes * focal + centre
    drawn = extents(torch.stack([xx, xy, yy], dim=-1).detach(), opacities.detach())
    size = drawn.new_tensor([cameras.width, cameras.height])
    hits_image = ((centres + drawn > 0) & (centres - drawn < size)).all(dim=-1)
    kept = in_range & (determinant > 0) & hits_image
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant.clamp(min=1e-30)[..., None]
    return Splats(centres, conics, depths, drawn * kept[..., None])


def _pinhole_jacobian(
    slopes: Tensor, z: Tensor, focal: Tensor, centre: Tensor, cameras: SplatCameras
) -> Float[Tensor, "c g 2 3"]:
    """Derivative of the pixel by the point; far outside the image it is held constant."""
    size = focal.new_tensor([cameras.width, cameras.height])
    margin = 0.15 * size / focal
    limited = slopes.clamp(-(centre / focal + margin), (size - centre) / focal + margin)
    fx, fy = (focal / z[..., None]).unbind(dim=-1)
    zero = torch.zeros_like(fx)
    rows = [[fx, zero, -fx * limited[..., 0]], [zero, fy, -fy * limited[..., 1]]]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def draw_splats(
    splats: Splats,
    opacities: Float[Tensor, " g"],
    features: Float[Tensor, "g k"],
    width: int,
    height: int,
) -> SplatImages:
    """Blend splats front to back.

    Args:
        splats: From `project_gaussians`.
        opacities: 0..1.
        features: What is blended besides the depth.
        width: Image width, pixels.
        height: Image height, pixels.
    """
    cameras = len(splats.depths)
    columns, rows = -(-width // _TILE), -(-height // _TILE)
    shape = torch.cat([splats.centres, splats.conics], dim=-1).flatten(0, 1)
    opaque = opacities.repeat(cameras)
    features = features.expand(cameras, -1, -1)
    values = torch.cat([features, splats.depths[..., None]], dim=-1).flatten(0, 1)
    tiles, pieces = [], []
    for batch, members in _tile_batches(splats, columns, rows):
        exists = members >= 0
        members = members.clamp(min=0)
        pixels = _pixel_centres(batch, columns, rows).to(values)
        weights = _blend(pixels, shape[members], opaque[members] * exists)
        tiles.append(batch)
        pieces.append(torch.cat([weights @ values[members], weights.sum(-1, keepdim=True)], -1))
    canvas = values.new_zeros(cameras * rows * columns, _TILE**2, values.shape[1] + 1)
    if pieces:
        canvas = canvas.index_copy(0, torch.cat(tiles), torch.cat(pieces))
    canvas = canvas.view(cameras, rows, columns, _TILE, _TILE, -1).transpose(2, 3)
    image = canvas.flatten(3, 4).flatten(1, 2)[:, :height, :width]
    return SplatImages(image[..., :-1], image[..., -1])


def _blend(
    pixels: Float[Tensor, "t p 2"], splats: Float[Tensor, "t n 5"], opacities: Float[Tensor, "t n"]
) -> Float[Tensor, "t p n"]:
    """Weight of every splat of a tile in every pixel; splats are sorted by depth."""
    dx, dy = (pixels[:, :, None] - splats[:, None, :, :2]).unbind(dim=-1)
    xx, xy, yy = (conic[:, None] for conic in splats[..., 2:].unbind(dim=-1))
    distance = (xx * dx * dx + yy * dy * dy) / 2 + xy * dx * dy
    alpha = (opacities[:, None] * (-distance).exp()).clamp(max=_MOST_OPAQUE)
    alpha = torch.where((distance >= 0) & (alpha >= _LEAST_OPAQUE), alpha, 0.0)
    behind = (1 - alpha).cumprod(dim=-1)
    in_front = torch.cat([torch.ones_like(behind[..., :1]), behind[..., :-1]], dim=-1)
    return alpha * in_front * (behind > _OPAQUE_ENOUGH)


@torch.no_grad()
def _tile_batches(
    splats: Splats, columns: int, rows: int
) -> Iterator[tuple[Int[Tensor, " t"], Int[Tensor, "t n"]]]:
    """Tiles of all cameras with what is drawn on them, front to back, padded with -1.

    Fullest tiles first, so that a batch holds tiles of similar load.
    """
    tile, member = _tile_members(splats, columns, rows)
    counts = tile.bincount(minlength=len(splats.depths) * columns * rows)
    starts = counts.cumsum(0) - counts
    order = counts.argsort(descending=True)
    order = order[: int((counts > 0).sum())]
    first, pairs = 0, _PAIRS_AT_ONCE.get(counts.device.type, 2**23)
    while first < len(order):
        most = int(counts[order[first]])
        batch = order[first : first + max(1, pairs // (most * _TILE**2))]
        first += len(batch)
        steps = torch.arange(most, device=tile.device)
        exists = steps < counts[batch, None]
        index = torch.where(exists, starts[batch, None] + steps, 0)
        yield batch, torch.where(exists, member[index], -1)


def _tile_members(
    splats: Splats, columns: int, rows: int
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """All pairs of tile and Gaussian, sorted by tile, then by depth."""
    limits = splats.centres.new_tensor([columns, rows])
    low = ((splats.centres - splats.extents) / _TILE).floor().clamp(min=0).minimum(limits)
    high = ((splats.centres + splats.extents) / _TILE).ceil().clamp(min=0).minimum(limits)
    spans = ((high - low) * splats.drawn[..., None]).long().flatten(0, 1)
    low = low.nan_to_num().long().flatten(0, 1)
    counts = spans.prod(dim=-1)
    member = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    step = torch.arange(len(member), device=counts.device) - (counts.cumsum(0) - counts)[member]
    width = spans[member, 0]
    column, row = low[member, 0] + step % width, low[member, 1] + step // width
    tile = (member // splats.depths.shape[1] * rows + row) * columns + column
    order = splats.depths.flatten()[member].argsort(stable=True)
    order = order[tile[order].argsort(stable=True)]
    return tile[order], member[order]


def _pixel_centres(tiles: Int[Tensor, " t"], columns: int, rows: int) -> Float[Tensor, "t p 2"]:
    """Pixel centres of tiles, row by row."""
    steps = torch.arange(_TILE, device=tiles.device) + 0.5
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    inside = torch.stack([u, v], dim=-1).flatten(0, 1)
    corner = torch.stack([tiles % columns, tiles // columns % rows], dim=-1) * _TILE
    return corner[:, None] + inside
