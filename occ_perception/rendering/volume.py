"""Volume rendering of a density field along rays (Mildenhall et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occ_perception.geometry.rays import Rays, points_on

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


class FieldSamples(Protocol):
    """A field's answer at points: density `[B, M]`, latent `[B, M, L]`, outside `[B, M]`."""

    @property
    def density(self) -> Tensor:
        """Density, 1/m."""
        ...

    @property
    def latent(self) -> Tensor:
        """Further values."""
        ...

    @property
    def outside(self) -> Tensor:
        """Points that the field's image does not see."""
        ...


class RenderedRays(NamedTuple):
    """What rays see of a field.

    Attributes:
        weights: How much each sample contributes.
        opacities: Alpha of the samples.
        distances_m: Distances of the samples along the ray.
        distance_m: Rendered distance along the ray.
        latent: Rendered latent.
        points: The samples, metres.
        outside: Which samples the field's image does not see.
    """

    weights: Float[Tensor, "b r k"]
    opacities: Float[Tensor, "b r k"]
    distances_m: Float[Tensor, "b r k"]
    distance_m: Float[Tensor, "b r"]
    latent: Float[Tensor, "b r l"]
    points: Float[Tensor, "b r k 3"]
    outside: Bool[Tensor, "b r k"]


def render(
    field: Callable[[Tensor], FieldSamples],
    rays: Rays,
    jitter: Float[Tensor, "b r k"],
    range_m: tuple[float, float],
    opaque_end: bool = True,
) -> RenderedRays:
    """Render rays through a field.

    Args:
        field: Answers points `[B, M, 3]` (metres).
        rays: Rays `[B, R, 3]` in the field's frame.
        jitter: Place of each sample within its interval, 0..1.
        range_m: Nearest and farthest distance along the ray.
        opaque_end: The last sample takes all light that is left.
    """
    distances = inverse_depth_distances(jitter, *range_m)
    points = points_on(rays, distances)
    samples = field(points.flatten(1, 2))
    weights, opacities = composite(samples.density.view_as(distances), distances, opaque_end)
    return RenderedRays(
        weights,
        opacities,
        distances,
        expected_distance(weights, distances),
        expected(weights, samples.latent.unflatten(1, distances.shape[1:])),
        points,
        samples.outside.view_as(distances),
    )
