"""What the lines of sight of labelled pixels say about voxels.

Before the place where a pixel's ray ends nothing is, there something is. Points on rays are drawn
such that every piece of the visible space counts by its volume: then the share of the occupied
among them is that among the voxels that cameras see, and a network that cannot tell answers with
what is usual there instead of filling the distance.

No part of the published training, which learns from rendered pictures alone: these cannot tell how
thick a surface is, and a small network has no time to find out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import Matrix

Values = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float64]

# Points per ray: on what it ended, shortly before it, anywhere before that.
_ON, _CLOSE, _BEFORE = 1, 1, 2


@dataclass(frozen=True)
class PixelSightSpec:
    """Which rays are looked at.

    Attributes:
        rays: Per key frame; further pixels are taken more often, by the area that they see.
        thickness_m: What a ray ends on goes on for so long behind. More than a voxel, or depth that
            is a little too far on one image and too short on another would find nothing anywhere.
        nearest_m: Pixels that are closer are taken as often as those at this distance.
        furthest_m: What is further away has no place; the way to it is free.
        sky: Pixels without depth look into the open; else nothing is known about them.
        flat_ids: Classes of flat ground. Rays graze it and pass many of its voxels on their way, so
            one that ends on it finds nothing free in the layer of voxels it ends in; elsewhere only
            the voxel in which it ends is spared.
    """

    rays: int = 4000
    thickness_m: float = 0.8
    nearest_m: float = 3.0
    furthest_m: float = 50.0
    sky: bool = True
    flat_ids: tuple[int, ...] = (11, 12, 13, 14)


class PixelRays(NamedTuple):
    """Rays of labelled pixels.

    Attributes:
        origins: `[n, 3]` metres.
        directions: `[n, 3]` of length one.
        length_m: `[n]` to where they end, infinite where the pixel has no depth.
        classes: `[n]` class ids, 0 = none.
    """

    origins: Vectors
    directions: Vectors
    length_m: Values
    classes: npt.NDArray[np.int64]

    def __getitem__(self, index: npt.NDArray[np.generic]) -> PixelRays:  # type: ignore[override]
        """Some of the rays."""
        return PixelRays(*(part[index] for part in tuple(self)))

    def points(self, distance_m: Values) -> Vectors:
        """Points `[n, m, 3]` at distances `[n, m]` from the origins."""
        return self.origins[:, None] + distance_m[..., None] * self.directions[:, None]


class SightVoxels(NamedTuple):
    """Voxels of which something is known.

    Attributes:
        voxels: Flat indices, -1 = nothing is known.
        labels: Class ids; 0 = something without a name.
        free: Voxels that a ray passed; else one ended there.
        weights: What they count.
    """

    voxels: Int[Tensor, " n"]
    labels: Int[Tensor, " n"]
    free: Bool[Tensor, " n"]
    weights: Float[Tensor, " n"]

    def known(self) -> SightVoxels:
        """Those of which something is known."""
        kept = self.voxels >= 0
        return SightVoxels(*(part[kept] for part in self))


def pixel_rays(
    depth_m: npt.NDArray[np.float32],
    classes: npt.NDArray[np.integer],
    K: Matrix,
    T_ego_cam: Matrix,
) -> PixelRays:
    """The rays of all pixels of a picture.

    Args:
        depth_m: `[h, w]` along the optical axis, 0 = none.
        classes: `[h, w]` class ids, 0 = none.
        K: `[3, 3]` intrinsics of the picture, pixels.
        T_ego_cam: `[4, 4]` pose of the camera, metres.
    """
    v, u = np.indices(depth_m.shape).reshape(2, -1) + 0.5
    slopes = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T
    lengths = np.linalg.norm(slopes, axis=1)
    reached = np.where(depth_m > 0, depth_m, np.inf).ravel() * lengths
    directions = slopes / lengths[:, None] @ T_ego_cam[:3, :3].T
    origins = np.broadcast_to(T_ego_cam[:3, 3], directions.shape)
    return PixelRays(origins, directions, reached, classes.ravel().astype(np.int64))


def draw_sight(
    rays: PixelRays, grid: GridSpec, spec: PixelSightSpec, random: np.random.RandomState
) -> SightVoxels:
    """Voxels on random rays, always equally many.

    Args:
        rays: Of all pixels of a key frame.
        grid: Voxels, in the frame of the rays.
        spec: How many rays, and what is made of them.
        random: Source of randomness.
    """
    inside = np.minimum(rays.length_m, _way_out(rays, grid))
    known = spec.sky | np.isfinite(rays.length_m)
    chance = known * np.clip(inside, spec.nearest_m, None) ** 2 * (inside > 0)
    chosen = _drawn(chance, spec.rays, random)
    rays, length, known = rays[chosen], inside[chosen, None], chance[chosen, None] > 0
    ended = rays.length_m[:, None] <= np.minimum(length, spec.furthest_m)
    flat = np.isin(rays.classes, spec.flat_ids)[:, None]
    distance, weights = _along(length, flat, spec.thickness_m, random)
    voxels, layers = _voxels(rays.points(distance), grid)
    free = np.broadcast_to(np.arange(distance.shape[1]) >= _ON, distance.shape)
    end, ground = _voxels(rays.points(length), grid)
    spared = ended & np.where(flat, layers <= ground, voxels == end)
    voxels[~known | np.where(free, spared, ~ended)] = -1
    parts = (voxels, np.broadcast_to(rays.classes[:, None], voxels.shape), free, weights)
    return SightVoxels(*(torch.from_numpy(part.flatten()) for part in parts))


def _way_out(rays: PixelRays, grid: GridSpec) -> Values:
    """Distance `[n]` at which rays leave the grid, metres; 0 or less where they are outside."""
    corners = np.array([grid.origin_m, grid.upper_m])
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = (corners[:, None] - rays.origins) / rays.directions
    enter, leave = np.nan_to_num(np.sort(ways, axis=0)).swapaxes(1, 2)
    return np.where(enter.max(axis=0) <= 0, leave.min(axis=0), 0.0)


def _drawn(chance: Values, count: int, random: np.random.RandomState) -> npt.NDArray[np.intp]:
    shares = np.cumsum(chance)
    drawn = np.searchsorted(shares, random.rand(count) * shares[-1], side="right")
    return np.minimum(drawn, len(chance) - 1)


def _along(
    length: Values, flat: npt.NDArray[np.bool_], thickness: float, random: np.random.RandomState
) -> tuple[Values, npt.NDArray[np.float32]]:
    """Distances `[n, points]` from the origins of rays, and what each point counts.

    A ray stands for a cone, whose volume grows with the square of the distance.
    """
    count = len(length)
    on = length + np.where(flat, 0.0, thickness * random.rand(count, _ON))
    near = np.minimum(2 * thickness, length)
    close = length - near * random.rand(count, _CLOSE)
    before = (length - near) * np.cbrt(random.rand(count, _BEFORE))
    volume = (length - near) ** 3 / (3 * np.maximum(length, 1e-6) ** 2)
    weights = [
        np.ones((count, _ON)),
        np.repeat(near / (_CLOSE * thickness), _CLOSE, axis=1),
        np.repeat(volume / (_BEFORE * thickness), _BEFORE, axis=1),
    ]
    distance = np.concatenate([on, close, before], axis=1)
    return distance, np.concatenate(weights, axis=1).astype(np.float32)


def _voxels(points: Vectors, grid: GridSpec) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Flat indices, -1 outside, and the layers along z."""
    cells = np.floor((points - grid.origin_m) / grid.voxel_size_m).astype(np.int64)
    inside = ((cells >= 0) & (cells < grid.shape)).all(axis=-1)
    flat = (cells[..., 0] * grid.shape[1] + cells[..., 1]) * grid.shape[2] + cells[..., 2]
    return np.where(inside, flat, -1), cells[..., 2]
