"""Rendering vectors out of a voxel volume: coarse samples show where the fine ones are worth it.

Proposal-free importance sampling as in nerfacc 0.5 (Li et al. 2023); LangOcc section 3.3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.precision import single_precision
from occ_perception.geometry.rays import Rays, points_on

_SAME_CDF = 1e-10


class RaySampling(NamedTuple):
    """How rays are sampled; the defaults are LangOcc's."""

    near_m: float = 0.05
    far_m: float = 40.0
    coarse: int = 50
    fine: int = 100


class Intervals(NamedTuple):
    """Pieces of rays, metres from the origin.

    Attributes:
        edges: Where the pieces begin and end.
        samples: Where the volume is read; not always the middle.
    """

    edges: Float[Tensor, "*b k_1"]
    samples: Float[Tensor, "*b k"]


class RenderedRays(NamedTuple):
    """What rays see.

    Attributes:
        vectors: Unit vectors (zero for a ray that meets nothing).
        weights: Contribution of the fine samples.
        transmittance: Light that reaches them.
        densities: Density at them, 1/m.
        intervals: The fine samples.
    """

    vectors: Float[Tensor, "b r c"]
    weights: Float[Tensor, "b r k"]
    transmittance: Float[Tensor, "b r k"]
    densities: Float[Tensor, "b r k"]
    intervals: Intervals

    @property
    def hit(self) -> Bool[Tensor, "b r"]:
        """Rays that meet anything; the others must not be trained on."""
        return self.weights.sum(dim=-1) != 0


def read_volume(
    volume: Float[Tensor, "b c x y z"], points_m: Float[Tensor, "b r k 3"], grid: GridSpec
) -> Float[Tensor, "b r k c"]:
    """Trilinear samples; the outermost voxel centres sit on the limits of the range.

    That is half a voxel off from what the grid means elsewhere; the published model was trained
    with it.

    Args:
        volume: Values of the voxels; outside they are zero.
        points_m: In the grid's frame, metres.
        grid: Where the voxels are.
    """
    lower, upper = (points_m.new_tensor(bound) for bound in (grid.origin_m, grid.upper_m))
    position = (2 * (points_m - lower) / (upper - lower) - 1).flip(-1)
    return F.grid_sample(volume, position[:, None], align_corners=True)[:, :, 0].movedim(1, -1)


def transmittance(
    density: Float[Tensor, "*b k"], edges: Float[Tensor, "*b k_1"]
) -> Float[Tensor, "*b k"]:
    """Light left at the beginning of every piece of a ray."""
    depth = (density * edges.diff(dim=-1)).cumsum(dim=-1)
    return (-F.pad(depth[..., :-1], (1, 0))).exp()


def coarse_intervals(jitter: Float[Tensor, "*b e"], sampling: RaySampling) -> Intervals:
    """Uniform pieces with shifted inner edges, read in their middle.

    Args:
        jitter: 0..1 per inner edge; 0.5 = not shifted.
        sampling: Range and number of pieces.
    """
    even = torch.linspace(0, 1, sampling.coarse + 1, device=jitter.device)
    inner = even[1:-1] + (jitter - 0.5) / sampling.coarse
    ends = [even[i].expand(*inner.shape[:-1], 1) for i in (0, -1)]
    share = torch.cat([ends[0], inner, ends[1]], dim=-1)
    edges = sampling.near_m + share * (sampling.far_m - sampling.near_m)
    return Intervals(edges, (edges[..., 1:] + edges[..., :-1]) / 2)


@torch.no_grad()
def fine_intervals(coarse: Intervals, light: Float[Tensor, "*b k"], samples: int) -> Intervals:
    """Pieces that each take the same share of what the coarse ones absorb.

    Args:
        coarse: From `coarse_intervals`.
        light: Their `transmittance`.
        samples: How many.
    """
    # Whatever passes everything is taken by the last piece.
    absorbed = torch.cat([1 - light, torch.ones_like(light[..., :1])], dim=-1)
    steps = (torch.arange(samples, device=light.device) + 0.5) / samples
    first, last = absorbed[..., :1], absorbed[..., -1:]
    wanted = first + steps * (last - first)
    above = torch.searchsorted(absorbed.contiguous(), wanted.contiguous(), right=True)
    above = above.clamp(1, absorbed.shape[-1] - 1)
    c0, c1 = absorbed.gather(-1, above - 1), absorbed.gather(-1, above)
    t0, t1 = coarse.edges.gather(-1, above - 1), coarse.edges.gather(-1, above)
    share = torch.where(c1 - c0 < _SAME_CDF, 0.5, (wanted - c0) / (c1 - c0).clamp(min=_SAME_CDF))
    at = t0 + share * (t1 - t0)
    inner = (at[..., 1:] + at[..., :-1]) / 2
    begin = at[..., :1] - (at[..., 1:2] - at[..., :1]) / 2
    end = at[..., -1:] + (at[..., -1:] - at[..., -2:-1]) / 2
    begin = begin.maximum(coarse.edges[..., :1])
    end = end.minimum(coarse.edges[..., -1:])
    return Intervals(torch.cat([begin, inner, end], dim=-1), at)


def render_features(
    density: Float[Tensor, "b 1 x y z"],
    features: Float[Tensor, "b c x y z"],
    rays: Rays,
    jitter: Float[Tensor, "b r e"],
    grid: GridSpec,
    sampling: RaySampling | None = None,
) -> RenderedRays:
    """Vectors that rays see; the gradient does not pass through the choice of samples.

    Args:
        density: Density of the voxels, 1/m.
        features: Unit vectors of the voxels.
        rays: `[B, R]` rays in the grid's frame.
        jitter: See `coarse_intervals`; officially random at test time too.
        grid: Where the voxels are.
        sampling: Range and numbers of samples; LangOcc's if None.
    """
    sampling = sampling or RaySampling()
    coarse = coarse_intervals(jitter, sampling)
    with torch.no_grad():
        seen = read_volume(density, points_on(rays, coarse.samples), grid)[..., 0]
    fine = fine_intervals(coarse, transmittance(seen, coarse.edges), sampling.fine)
    points = points_on(rays, fine.samples)
    sigma = read_volume(density, points, grid)[..., 0]
    light = transmittance(sigma, fine.edges)
    weights = light * (1 - (-sigma * fine.edges.diff(dim=-1)).exp())
    with single_precision(weights):
        vectors = (weights[..., None, :] @ read_volume(features, points, grid))[..., 0, :]
    return RenderedRays(F.normalize(vectors, dim=-1), weights, light, sigma, fine)
