"""Semantic Gaussians to voxels (GaussianFlowOcc, section 3; formula and cuts as published)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.precision import single_precision
from occ_perception.geometry.quaternions import rotation_matrices


class Gaussians(NamedTuple):
    """Gaussians of one instant, in the frame of the vehicle.

    Attributes:
        means: Centres, metres.
        scales: Standard deviations along the Gaussian's own axes, metres.
        quaternions: Orientation (w, x, y, z), unit length.
        opacities: 0..1.
        logits: Class logits; index k is class id k + 1.
    """

    means: Float[Tensor, "*b g 3"]
    scales: Float[Tensor, "*b g 3"]
    quaternions: Float[Tensor, "*b g 4"]
    opacities: Float[Tensor, "*b g 1"]
    logits: Float[Tensor, "*b g k"]

    def __getitem__(self, index: int) -> Gaussians:  # type: ignore[override]
        """One sample of a batch."""
        return Gaussians(*(tensor[index] for tensor in tuple(self)))


class GaussianVolume(NamedTuple):
    """Sums over all Gaussians at the voxel centres.

    Attributes:
        density: Opacity-weighted, clamped to 0..1.
        logits: Class logits, not weighted by opacity.
    """

    density: Float[Tensor, "x y z"]
    logits: Float[Tensor, "x y z k"]


class GaussianSums(NamedTuple):
    """Sums over all Gaussians at chosen voxel centres.

    Attributes:
        density: Opacity-weighted, as it is: a clamp would have no gradient.
        logits: Class logits, not weighted by opacity.
    """

    density: Float[Tensor, " v"]
    logits: Float[Tensor, "v k"]


class VoxelLabels(NamedTuple):
    """Voxels as they are published.

    Attributes:
        classes: Most likely class of every voxel, free or not.
        density: Density with faint voxels and those above the roof set to zero.
    """

    classes: UInt8[Tensor, "x y z"]
    density: Float[Tensor, "x y z"]

    def free(self, threshold: float) -> Bool[Tensor, "x y z"]:
        """Voxels that count as empty."""
        return self.density < threshold


def precisions(
    scales: Float[Tensor, "*b 3"], quaternions: Float[Tensor, "*b 4"]
) -> Float[Tensor, "*b 3 3"]:
    """Inverse covariances, 1 / square metres."""
    axes = rotation_matrices(quaternions) / scales[..., None, :]
    with single_precision(axes):
        return axes @ axes.mT


def gaussians_to_volume(gaussians: Gaussians, grid: GridSpec, reach: int) -> GaussianVolume:
    """Sum all Gaussians over the voxels around them, in one scatter.

    Args:
        gaussians: Gaussians of one sample (no batch axis), in the grid's frame.
        grid: Voxels.
        reach: Half edge of the cube of voxels that a Gaussian is added to (the paper's `nbh`).
    """
    density, logits = _sums(gaussians, grid, reach, grid.count)
    density, logits = (sums.unflatten(0, grid.shape) for sums in (density, logits))
    return GaussianVolume(density.clamp(0, 1), logits)


def gaussians_at_voxels(
    gaussians: Gaussians, grid: GridSpec, reach: int, voxels: Int[Tensor, " v"]
) -> GaussianSums:
    """What `gaussians_to_volume` sums up, at some voxels alone.

    Args:
        gaussians: Gaussians of one sample (no batch axis), in the grid's frame.
        grid: Voxels.
        reach: As given to `gaussians_to_volume`.
        voxels: Flat indices, each at most once.
    """
    places = voxels.new_full((grid.count,), -1)
    places[voxels] = torch.arange(len(voxels), device=voxels.device)
    return _sums(gaussians, grid, reach, len(voxels), places)


def _sums(
    gaussians: Gaussians,
    grid: GridSpec,
    reach: int,
    count: int,
    places: Int[Tensor, " n"] | None = None,
) -> GaussianSums:
    """Sums over the Gaussians, scattered to the place of each voxel; those at -1 are left out."""
    means = gaussians.means.float()
    lower, size = (means.new_tensor(v)[:, None] for v in (grid.origin_m, grid.voxel_size_m))
    steps = torch.arange(-reach, reach + 1, device=means.device)
    cells = ((means[..., None] - lower) / size).floor().long() + steps  # [G, 3, n]
    to_centre = lower + (cells + 0.5) * size - means[..., None]
    weights = _weights(precisions(gaussians.scales, gaussians.quaternions), to_centre)
    rows, voxels, pairs = _pairs_inside(cells, grid)
    if places is not None:
        voxels = places[voxels]
        rows, voxels, pairs = (part[voxels >= 0] for part in (rows, voxels, pairs))
    values = torch.cat([gaussians.opacities, gaussians.logits], dim=-1).float()
    added = values.index_select(0, rows) * weights.flatten().index_select(0, pairs)[:, None]
    sums = values.new_zeros(count, values.shape[1]).index_add(0, voxels, added)
    return GaussianSums(sums[:, 0], sums[:, 1:])


def _axes(steps: Shaped[Tensor, "g 3 n"]) -> tuple[Tensor, Tensor, Tensor]:
    """Values per axis, broadcast against each other over the n^3 voxels."""
    return steps[:, 0, :, None, None], steps[:, 1, None, :, None], steps[:, 2, None, None, :]


def _weights(
    precision: Float[Tensor, "g 3 3"], to_centre: Float[Tensor, "g 3 n"]
) -> Float[Tensor, "g n n n"]:
    """Unnormalised Gaussians at the n^3 voxel centres around each of them."""
    x, y, z = _axes(to_centre)
    P = precision.float()[..., None, None, None]
    in_plane = P[:, 0, 0] * x * x + (P[:, 1, 1] * y + 2 * P[:, 0, 1] * x) * y
    slope = 2 * (P[:, 0, 2] * x + P[:, 1, 2] * y)
    return (-0.5 * (in_plane + (slope + P[:, 2, 2] * z) * z)).exp()


def _pairs_inside(
    cells: Int[Tensor, "g 3 n"], grid: GridSpec
) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Pairs whose voxel exists: index of the Gaussian, of the voxel, and of the pair itself."""
    shape = torch.tensor(grid.shape, device=cells.device)[:, None]
    inside = (cells >= 0) & (cells < shape)
    in_x, in_y, in_z = _axes(inside)
    x, y, z = _axes(cells)
    voxels = (x * grid.shape[1] + y) * grid.shape[2] + z
    pairs = (in_x & in_y & in_z).flatten().nonzero()[:, 0]
    return pairs // cells.shape[2] ** 3, voxels.flatten()[pairs], pairs


def label_voxels(volume: GaussianVolume, roof: int, least_density: float = 1e-3) -> VoxelLabels:
    """Classes and density as published.

    Args:
        volume: Sums of all Gaussians.
        roof: First z index whose density is dropped (the published model sees nothing above 3.4 m).
        least_density: Densities below it are zero.
    """
    density = torch.where(volume.density < least_density, 0.0, volume.density)
    density[..., roof:] = 0
    classes = volume.logits.argmax(dim=-1) + 1
    return VoxelLabels(classes.to(torch.uint8), density)
