"""Volume rendering of a density field along rays (Mildenhall et al. 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# Behind the last sample the field goes on; its interval is as good as infinite.
_LAST_INTERVAL_M = 1e10
# Keeps the gradient of the product alive where a sample is fully opaque.
_TRANSMITTANCE_EPS = 1e-10


class RayWeights(NamedTuple):
    """How much each sample contributes to its ray.

    Attributes:
        weights: Opacity of the sample times transmittance in front of it.
        opacities: Alpha of the samples.
    """

    weights: Float[Tensor, "*batch k"]
    opacities: Float[Tensor, "*batch k"]


def fixed_jitter(rays: tuple[int, ...], samples: int, like: Tensor) -> Float[Tensor, "*rays k"]:
    """Samples in the middle of their intervals: a deterministic picture."""
    return like.new_full((*rays, samples), 0.5)


def inverse_depth_distances(
    jitter: Float[Tensor, "*batch k"], near_m: float, far_m: float
) -> Float[Tensor, "*batch k"]:
    """Stratified distances, evenly spaced in inverse distance.

    Args:
        jitter: Place of each sample within its interval, 0..1.
        near_m: Distance of the first interval's start along the ray, metres.
        far_m: Distance of the last interval's end, metres.
    """
    samples = jitter.shape[-1]
    step = (torch.arange(samples, device=jitter.device) + jitter) / samples
    return 1 / ((1 - step) / near_m + step / far_m)


def opacity(
    density: Float[Tensor, "*batch k"], distances_m: Float[Tensor, "*#batch k"]
) -> Float[Tensor, "*batch k"]:
    """Alpha of every sample from density (1/m) and the distance to the next sample."""
    intervals = distances_m.diff(dim=-1)
    last = intervals.new_full((*intervals.shape[:-1], 1), _LAST_INTERVAL_M)
    return 1 - torch.exp(-torch.cat([intervals, last], dim=-1).abs() * density.relu())


def composite(
    density: Float[Tensor, "*batch k"],
    distances_m: Float[Tensor, "*#batch k"],
    opaque_end: bool = True,
) -> RayWeights:
    """Weights of the samples along each ray.

    Args:
        density: Densities at the samples, 1/m.
        distances_m: Distances of the samples along the ray, metres.
        opaque_end: The last sample takes all light that is left, so weights sum to one.
    """
    alpha = opacity(density, distances_m)
    if opaque_end:
        alpha = torch.cat([alpha[..., :-1], torch.ones_like(alpha[..., -1:])], dim=-1)
    passed = torch.cumprod(1 - alpha + _TRANSMITTANCE_EPS, dim=-1)
    in_front = torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1]], dim=-1)
    return RayWeights(alpha * in_front, alpha)


def expected(
    weights: Float[Tensor, "*batch k"], values: Float[Tensor, "*batch k c"]
) -> Float[Tensor, "*batch c"]:
    """Weighted sum of the samples' values along each ray."""
    return (weights[..., None, :] @ values)[..., 0, :]


def expected_distance(
    weights: Float[Tensor, "*batch k"], distances_m: Float[Tensor, "*#batch k"]
) -> Float[Tensor, "*batch"]:
    """Rendered distance along the rays, metres."""
    return (weights * distances_m).sum(dim=-1)
