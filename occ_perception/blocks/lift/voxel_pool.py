"""Sum pooling of weighted pixel features into voxels, planned once per calibration."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from occ_perception.core.grid import GridSpec


@dataclass(frozen=True, eq=False)
class PoolPlan:
    """Which (pixel, depth bin) pairs fall into which voxel, sorted by voxel.

    Attributes:
        samples: `[P]` int32, positions in the flattened `[B, N, D, H, W]` depth distribution.
        pixels: `[P]` int32, positions in the flattened `[B, N, H, W]` feature map.
        bounds: `[B * X * Y * Z + 1]` int32, where each voxel's run of pairs starts and ends.
        batch: Number of samples B.
        shape: Voxels (X, Y, Z).
    """

    samples: Int[Tensor, " p"]
    pixels: Int[Tensor, " p"]
    bounds: Int[Tensor, " v"]
    batch: int
    shape: tuple[int, int, int]

    def to(self, device: torch.device | str) -> PoolPlan:
        """The same plan on another device."""
        tensors = (t.to(device) for t in (self.samples, self.pixels, self.bounds))
        return type(self)(*tensors, self.batch, self.shape)


def voxel_index(points_m: Float[Tensor, "*batch 3"], grid: GridSpec) -> Int[Tensor, "*batch"]:
    """Flat voxel index of points, C order of x, y, z; -1 = outside.

    Rounds towards zero like the integer cast of LSS and its descendants: points less than one
    voxel below the lower bound count for voxel 0. Checkpoints were trained with that.

    Args:
        points_m: `[..., 3]` float, metres, in the grid's frame.
        grid: Target grid.
    """
    lower, size = (points_m.new_tensor(v) for v in (grid.origin_m, grid.voxel_size_m))
    cell = (points_m - lower) / size
    inside = ((cell > -1) & (cell < cell.new_tensor(grid.shape))).all(dim=-1)
    x, y, z = torch.where(inside[..., None], cell, 0).long().unbind(-1)
    flat = (x * grid.shape[1] + y) * grid.shape[2] + z
    return torch.where(inside, flat, -1)


def plan_pool(points_m: Float[Tensor, "b n d h w 3"], grid: GridSpec) -> PoolPlan:
    """Sort all frustum points by voxel.

    Args:
        points_m: Position of every depth bin of every pixel, metres, in the grid's frame.
        grid: Grid to pool into.
    """
    b, _, d, h, w, _ = points_m.shape
    voxel = voxel_index(points_m, grid)
    first = torch.arange(b, device=voxel.device).view(b, 1, 1, 1, 1) * grid.count
    voxel = torch.where(voxel >= 0, voxel + first, -1).flatten()
    order = torch.argsort(voxel, stable=True)
    samples = order[int((voxel < 0).sum()) :]
    counts = torch.bincount(voxel[samples], minlength=b * grid.count)
    bounds = F.pad(counts.cumsum(0), (1, 0))
    pixels = samples // (d * h * w) * (h * w) + samples % (h * w)
    return PoolPlan(samples.int(), pixels.int(), bounds.int(), b, grid.shape)


def pool_voxels(
    depth: Float[Tensor, "b n d h w"], features: Float[Tensor, "b n c h w"], plan: PoolPlan
) -> Float[Tensor, "b c x y z"]:
    """Sum of depth-weighted features per voxel, in float32 or better.

    The outer product of depth and features is never stored: the pairs of one voxel are one bag
    of rows of the feature table. The result lies in memory with channels last.

    Args:
        depth: Weight of every depth bin of every pixel.
        features: One feature per pixel.
        plan: From `plan_pool` for the same sizes.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    table = features.permute(0, 1, 3, 4, 2).flatten(0, 3).to(dtype)
    weights = depth.flatten().index_select(0, plan.samples).to(dtype)
    bags = F.embedding_bag(
        plan.pixels,
        table,
        plan.bounds,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )
    return bags.unflatten(0, (plan.batch, *plan.shape)).permute(0, 4, 1, 2, 3)
